"""The shapes of requests and answers that existing clients speak, one file for each family of clients."""
