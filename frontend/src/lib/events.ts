import type { ProgressEvent } from "./types";

export const SERVICE_RESTART = 1012;
const STABLE_AFTER_MS = 5_000;
const LONGEST_WAIT_MS = 30_000;

/**
 * How long to wait before connecting again. A restarting server is back soon, so the
 * wait is short, but spread out: all of its readers come back at once. Anything else
 * backs off exponentially, with jitter.
 */
export function reconnectDelay(code: number, attempt: number, random = Math.random): number {
  if (code === SERVICE_RESTART) return 250 + random() * 1_750;
  const ceiling = Math.min(LONGEST_WAIT_MS, 1_000 * 2 ** attempt);
  return ceiling * (0.5 + random() / 2);
}

export interface EventHandlers {
  onProgress: (event: ProgressEvent) => void;
  /** Called on each connection: events may have been missed before it. */
  onOpen: () => void;
  onLost: () => void;
}

function eventsUrl(): string {
  const { protocol, host } = window.location;
  return `${protocol === "https:" ? "wss" : "ws"}://${host}/api/events`;
}

/** Keeps one connection to the server's events until the returned function is called. */
export function followEvents({ onProgress, onOpen, onLost }: EventHandlers): () => void {
  let socket: WebSocket;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempt = 0;
  let stopped = false;

  function connect() {
    let openedAt = 0;
    socket = new WebSocket(eventsUrl());
    socket.onopen = () => {
      openedAt = Date.now();
      if (stopped) socket.close();
      else onOpen();
    };
    socket.onmessage = ({ data }) => {
      const message = parse(data);
      if (message && !stopped) onProgress(message);
    };
    socket.onclose = ({ code }) => {
      if (stopped) return;
      onLost();
      // A server that accepts and drops at once must not be hammered.
      if (openedAt && Date.now() - openedAt >= STABLE_AFTER_MS) attempt = 0;
      const delay = reconnectDelay(code, attempt);
      if (code !== SERVICE_RESTART) attempt += 1;
      timer = setTimeout(connect, delay);
    };
  }

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    // Closing while connecting logs an error; onopen closes it instead.
    if (socket.readyState === WebSocket.OPEN) socket.close();
  };
}

function parse(data: unknown): ProgressEvent | null {
  try {
    const message = JSON.parse(String(data)) as ProgressEvent;
    return message.type === "progress" && typeof message.book === "string" ? message : null;
  } catch {
    return null;
  }
}
