import { readerHref } from "../lib/route";
import type { Book } from "../lib/types";
import { Cover } from "./Cover";

const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

function subtitle({ author, created_at }: Book): string {
  if (author) return author;
  const added = created_at ? new Date(created_at) : null;
  return added && !Number.isNaN(added.getTime()) ? `Added ${dateFormat.format(added)}` : "";
}

function Status({ book }: { book: Book }) {
  if (book.state === "failed") {
    return (
      <p className="card-error">
        <strong>Could not be prepared.</strong> {book.error || "No reason was given."}
      </p>
    );
  }
  const queued = book.state === "queued";
  return (
    <div className="card-progress">
      <progress aria-label={`Preparing ${book.title}`} max={100} value={queued ? undefined : book.progress} />
      <span>{queued ? "Waiting…" : `Preparing… ${Math.round(book.progress)} %`}</span>
    </div>
  );
}

export function BookCard({ book, onDelete }: { book: Book; onDelete: () => void }) {
  const ready = book.state === "ready";
  return (
    <li className={`card ${book.state}`}>
      {ready ? (
        <a className="card-link" href={readerHref(book.id)}>
          <Cover title={book.title} author={book.author} />
          <span className="card-title">{book.title}</span>
        </a>
      ) : (
        <div className="card-link">
          <Cover title={book.title} author={book.author} />
          <span className="card-title">{book.title}</span>
        </div>
      )}
      {ready ? <p className="card-sub">{subtitle(book)}</p> : <Status book={book} />}
      <button className="card-delete" aria-label={`Delete ${book.title}`} title="Delete" onClick={onDelete}>
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path d="M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 10.5v5.5M13.5 10.5v5.5" />
        </svg>
      </button>
    </li>
  );
}
