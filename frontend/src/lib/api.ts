import type { Book, BookDetail, Chapter, Note, Position } from "./types";

export class ApiError extends Error {
  constructor(
    message: string,
    /** The HTTP status; 0 when no answer came at all. */
    readonly status: number,
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** Worth asking again: the server was away, or a restart was under way. */
  get temporary(): boolean {
    return this.status === 0 || [502, 503, 504].includes(this.status);
  }
}

const UNREACHABLE = "The server cannot be reached. Check the connection and try again.";

/** The reason in an error body: {"detail": string}, or a list of validation errors. */
export function reasonOf(status: number, body: string): string {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown };
    if (typeof detail === "string" && detail) return detail;
    const first = Array.isArray(detail) ? (detail[0] as { msg?: unknown } | undefined)?.msg : null;
    if (typeof first === "string") return first;
  } catch {
    // Not JSON: a proxy's own error page, say.
  }
  if (status === 413) return "The file is too large.";
  if (status >= 502 && status <= 504) return "The server is not available at the moment.";
  return `The server answered with status ${status}.`;
}

async function once(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`/api${path}`, init);
  } catch (cause) {
    if (init?.signal?.aborted) throw cause;
    throw new ApiError(UNREACHABLE, 0);
  }
  if (response.ok) return response;
  throw new ApiError(reasonOf(response.status, await response.text()), response.status);
}

const RETRY_AFTER_MS = [300, 1200];

/** Every request made here can safely be repeated, so short outages are ridden out. */
async function request(path: string, init?: RequestInit): Promise<Response> {
  for (const wait of RETRY_AFTER_MS) {
    try {
      return await once(path, init);
    } catch (error) {
      if (!(error instanceof ApiError && error.temporary)) throw error;
      await new Promise((done) => setTimeout(done, wait * (0.5 + Math.random())));
    }
  }
  return once(path, init);
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await request(path, { signal })).json() as Promise<T>;
}

function withJson(method: string, body: unknown): RequestInit {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

const bookPath = (id: string) => `/books/${encodeURIComponent(id)}`;

export const listBooks = () => get<Book[]>("/books");
export const getBook = (id: string, signal?: AbortSignal) => get<BookDetail>(bookPath(id), signal);
export const getChapter = (id: string, number: number, signal?: AbortSignal) =>
  get<Chapter>(`${bookPath(id)}/chapters/${number}`, signal);
export const listNotes = (id: string, signal?: AbortSignal) =>
  get<Note[]>(`${bookPath(id)}/notes`, signal);
export const getVersion = () => get<{ release: string }>("/version");

export async function deleteBook(id: string): Promise<void> {
  try {
    await request(bookPath(id), { method: "DELETE" });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error; // 404: already gone
  }
}

/** keepalive lets the request outlive the page when it is being closed. */
export async function savePosition(id: string, position: Position, keepalive = false): Promise<void> {
  await request(`${bookPath(id)}/position`, { ...withJson("PUT", position), keepalive });
}

/** The note carries its own id, so sending it twice leaves one note. */
export async function addNote(bookId: string, note: Note): Promise<void> {
  const { id, chapter, text } = note;
  await request(`${bookPath(bookId)}/notes`, withJson("POST", { id, chapter, text }));
}

/** XMLHttpRequest, because fetch does not report how much has been sent. */
export function uploadBook(file: File, onProgress: (percent: number) => void): Promise<Book> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", "/api/books");
    xhr.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress((100 * event.loaded) / event.total);
    };
    xhr.onerror = () => reject(new ApiError(UNREACHABLE, 0));
    xhr.onload = () => {
      if (xhr.status === 201) resolve(JSON.parse(xhr.responseText) as Book);
      else reject(new ApiError(reasonOf(xhr.status, xhr.responseText), xhr.status));
    };
    const form = new FormData();
    form.append("file", file);
    xhr.send(form);
  });
}

export function messageOf(error: unknown): string {
  return error instanceof ApiError ? error.message : "Something went wrong.";
}
