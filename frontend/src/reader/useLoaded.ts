import { useEffect, useState } from "react";
import { messageOf } from "../lib/api";

interface Loaded<T> {
  key: string;
  value?: T;
  error?: string;
}

/** Loads something by its key; the answer for an earlier key is never shown for a later one. */
export function useLoaded<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>) {
  const [state, setState] = useState<Loaded<T> | null>(null);
  const [turn, setTurn] = useState(0);

  useEffect(() => {
    if (key === null) return;
    const aborter = new AbortController();
    load(aborter.signal).then(
      (value) => !aborter.signal.aborted && setState({ key, value }),
      (error: unknown) => !aborter.signal.aborted && setState({ key, error: messageOf(error) }),
    );
    return () => aborter.abort();
    // `load` is a new function each time; the key says when there is something else to load.
  }, [key, turn]);

  const current = state?.key === key ? state : null;
  const retry = () => {
    setState(null);
    setTurn((n) => n + 1);
  };
  return { value: current?.value, error: current?.error, retry };
}
