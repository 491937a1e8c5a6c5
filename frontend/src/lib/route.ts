import { useSyncExternalStore } from "react";

export type Route = { screen: "shelf" } | { screen: "reader"; book: string; chapter?: number };

export function parseRoute(hash: string): Route {
  const match = /^#\/books\/([^/]+)(?:\/(\d+))?$/.exec(hash);
  if (!match?.[1]) return { screen: "shelf" };
  try {
    const chapter = match[2] === undefined ? undefined : Number(match[2]);
    return { screen: "reader", book: decodeURIComponent(match[1]), chapter };
  } catch {
    return { screen: "shelf" };
  }
}

export const shelfHref = "#/";

export function readerHref(book: string, chapter?: number): string {
  const base = `#/books/${encodeURIComponent(book)}`;
  return chapter === undefined ? base : `${base}/${chapter}`;
}

function subscribe(changed: () => void) {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
}

export function useRoute(): Route {
  return parseRoute(useSyncExternalStore(subscribe, () => window.location.hash));
}
