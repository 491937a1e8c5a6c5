import { useState, type DragEvent } from "react";
import type { Book } from "../lib/types";
import type { Library } from "../lib/useLibrary";
import { BookCard } from "./BookCard";
import { DeleteDialog } from "./DeleteDialog";
import { FileButton } from "./FileButton";
import { UploadList } from "./UploadList";
import { useUploads } from "./useUploads";

const hasFiles = (event: DragEvent) => event.dataTransfer.types.includes("Files");

export function Shelf({ library }: { library: Library }) {
  const { books, error } = library;
  const { uploads, start, dismiss } = useUploads(library.add);
  const [dragging, setDragging] = useState(false);
  const [deleting, setDeleting] = useState<Book | null>(null);

  return (
    <div
      className="shelf-page"
      onDragOver={(event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        setDragging(true);
      }}
      onDragLeave={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setDragging(false);
      }}
      onDrop={(event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        setDragging(false);
        start(Array.from(event.dataTransfer.files));
      }}
    >
      <header className="shelf-header">
        <h1>
          <span className="brand">BookReader</span> <span className="count">{countOf(books)}</span>
        </h1>
        {books && books.length > 0 && <FileButton onFiles={start} />}
      </header>
      <main>
        {error && (
          <p className="notice" role="alert">
            {error}{" "}
            <button className="link" onClick={library.reload}>
              Try again
            </button>
          </p>
        )}
        <UploadList
          uploads={uploads}
          onDismiss={dismiss}
          onRetry={(upload) => {
            dismiss(upload.key);
            start([upload.file]);
          }}
        />
        {!books && !error && <p className="loading">Opening the shelf…</p>}
        {books?.length === 0 && <EmptyShelf onFiles={start} />}
        {books && books.length > 0 && (
          <ul className="shelf" aria-label="Books">
            {books.map((book) => (
              <BookCard key={book.id} book={book} onDelete={() => setDeleting(book)} />
            ))}
          </ul>
        )}
      </main>
      {dragging && <div className="drop-veil">Drop to add to your shelf</div>}
      {deleting && (
        <DeleteDialog book={deleting} onDelete={library.remove} onClose={() => setDeleting(null)} />
      )}
    </div>
  );
}

function countOf(books: Book[] | null): string {
  if (!books?.length) return "";
  return books.length === 1 ? "1 book" : `${books.length} books`;
}

function EmptyShelf({ onFiles }: { onFiles: (files: File[]) => void }) {
  return (
    <section className="empty">
      <svg viewBox="0 0 120 72" aria-hidden="true">
        <path d="M60 18C46 8 28 6 10 6v52c18 0 36 2 50 12 14-10 32-12 50-12V6C92 6 74 8 60 18z" />
        <path d="M60 18v52M22 20c8 0 18 1 26 5M22 32c8 0 18 1 26 5M98 20c-8 0-18 1-26 5M98 32c-8 0-18 1-26 5" />
      </svg>
      <h2>Your shelf is waiting</h2>
      <p>
        Add a book to begin: drop a file anywhere on this page, or choose one. Plain text and EPUB, up to 32 MB
        each.
      </p>
      <FileButton onFiles={onFiles} />
    </section>
  );
}
