import { useEffect } from "react";
import { useRoute } from "./lib/route";
import { useLibrary } from "./lib/useLibrary";
import { Reader } from "./reader/Reader";
import { Shelf } from "./shelf/Shelf";

export function App() {
  const route = useRoute();
  const library = useLibrary();
  const { announcement, connected, release } = library;

  const opened = route.screen === "reader" && library.books?.find((book) => book.id === route.book);
  const preparing = opened && (opened.state === "queued" || opened.state === "parsing");

  useEffect(() => {
    if (route.screen !== "shelf") return;
    document.title = "BookReader";
    window.scrollTo(0, 0);
  }, [route.screen]);

  return (
    <>
      {route.screen === "reader" ? (
        <Reader
          // Opens again once a book that was being prepared is so no longer.
          key={`${route.book}:${preparing === true}`}
          id={route.book}
          chapter={route.chapter}
        />
      ) : (
        <Shelf library={library} />
      )}
      <footer className="site-footer">
        {release && <span>Release {release.current}</span>}
        {release?.changed && (
          <button className="link" onClick={() => window.location.reload()}>
            A new release is running: reload
          </button>
        )}
      </footer>
      <p className="sr-only" role="status">
        {announcement}
      </p>
      <div aria-live="polite">
        {!connected && <p className="connection">Connection lost, reconnecting…</p>}
      </div>
    </>
  );
}
