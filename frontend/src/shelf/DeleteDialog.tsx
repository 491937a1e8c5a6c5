import { useEffect, useRef, useState } from "react";
import { messageOf } from "../lib/api";
import type { Book } from "../lib/types";

interface Props {
  book: Book;
  onDelete: (book: Book) => Promise<void>;
  onClose: () => void;
}

export function DeleteDialog({ book, onDelete, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);

  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
  }, []);

  async function confirm() {
    setBusy(true);
    try {
      await onDelete(book);
      onClose();
    } catch (cause) {
      setError(messageOf(cause));
      setBusy(false);
    }
  }

  return (
    <dialog ref={dialog} className="dialog" aria-labelledby="delete-title" onClose={onClose}>
      <h2 id="delete-title">Delete this book?</h2>
      <p>
        <strong>{book.title}</strong> will be removed from your shelf, along with its notes and your place in it.
        This cannot be undone.
      </p>
      {error && (
        <p className="card-error" role="alert">
          {error}
        </p>
      )}
      <div className="dialog-actions">
        <button className="quiet" onClick={onClose}>
          Keep it
        </button>
        <button className="danger" disabled={busy} onClick={() => void confirm()}>
          {busy ? "Deleting…" : "Delete"}
        </button>
      </div>
    </dialog>
  );
}
