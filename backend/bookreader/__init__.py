"""BookReader: upload a book, let a worker split it into chapters, read it in the browser."""
