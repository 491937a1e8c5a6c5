import { useCallback, useEffect, useRef, useState } from "react";
import { deleteBook, getVersion, listBooks, messageOf } from "./api";
import { followEvents } from "./events";
import type { Book, ProgressEvent } from "./types";

export interface Library {
  /** null until the first list has arrived. */
  books: Book[] | null;
  error: string | null;
  connected: boolean;
  /** The server's release, and whether it changed since this page was loaded. */
  release: { current: string; changed: boolean } | null;
  /** What a screen reader should say next. */
  announcement: string;
  reload: () => void;
  add: (book: Book) => void;
  remove: (book: Book) => Promise<void>;
}

const SPOKEN = {
  queued: "is waiting to be prepared",
  parsing: "is being prepared",
  ready: "is ready to read",
  failed: "could not be prepared",
};

export function useLibrary(): Library {
  const [books, setBooks] = useState<Book[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [connected, setConnected] = useState(true);
  const [announcement, announce] = useState("");
  const [release, setRelease] = useState<Library["release"]>(null);
  const latest = useRef(0);
  const current = useRef<Book[] | null>(null);
  current.current = books;

  const reload = useCallback(async () => {
    const turn = ++latest.current;
    try {
      const list = await listBooks();
      if (turn !== latest.current) return; // a newer list is on its way
      setBooks(list);
      setError(null);
    } catch (cause) {
      if (turn === latest.current) setError(messageOf(cause));
    }
  }, []);

  useEffect(() => {
    function onProgress({ book: id, state, progress }: ProgressEvent) {
      const known = current.current?.find((book) => book.id === id);
      if (known && known.state !== state) announce(`${known.title} ${SPOKEN[state]}`);
      setBooks((list) => list?.map((b) => (b.id === id ? { ...b, state, progress } : b)) ?? null);
      // The event has no title and no reason of failure; the list does.
      if (!known || state === "ready" || state === "failed") void reload();
    }
    function refresh() {
      void reload();
      getVersion().then(
        (version) =>
          setRelease((seen) => ({
            current: version.release,
            changed: seen !== null && (seen.changed || seen.current !== version.release),
          })),
        () => undefined,
      );
    }
    function onOpen() {
      setConnected(true);
      refresh();
    }
    refresh();
    return followEvents({ onProgress, onOpen, onLost: () => setConnected(false) });
  }, [reload]);

  // Without events, ask now and then while something is being prepared.
  const waiting = !connected && books?.some((b) => b.state === "queued" || b.state === "parsing");
  useEffect(() => {
    if (!waiting) return;
    const timer = setInterval(() => void reload(), 5_000);
    return () => clearInterval(timer);
  }, [waiting, reload]);

  const add = useCallback((book: Book) => {
    setBooks((list) => [book, ...(list ?? []).filter((other) => other.id !== book.id)]);
    announce(`${book.title} ${SPOKEN[book.state]}`);
    void reload(); // a list asked for before the upload would lack this book
  }, [reload]);

  const remove = useCallback(async (book: Book) => {
    await deleteBook(book.id);
    setBooks((list) => list?.filter((other) => other.id !== book.id) ?? null);
    announce(`${book.title} was deleted`);
    void reload();
  }, [reload]);

  return { books, error, connected, release, announcement, reload, add, remove };
}
