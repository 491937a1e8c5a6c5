import { describe, expect, it, vi } from "vitest";
import { addNote, ApiError, deleteBook, getBook, listBooks, reasonOf, uploadBook } from "../src/lib/api";
import { uuid } from "../src/lib/uuid";
import { fakeServer } from "./fakes";

describe("errors", () => {
  it("carry the reason that the server gave, and its status", async () => {
    fakeServer({ "GET /books/x": { status: 404, body: { detail: "There is no such book." } } });
    const error = await getBook("x").catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 404, message: "There is no such book.", temporary: false });
  });

  it("are told in words when the body is not the API's", () => {
    expect(reasonOf(502, "<h1>Bad Gateway</h1>")).toBe("The server is not available at the moment.");
    expect(reasonOf(413, "")).toBe("The file is too large.");
    expect(reasonOf(422, '{"detail":[{"msg":"Field required"}]}')).toBe("Field required");
    expect(reasonOf(500, "null")).toBe("The server answered with status 500.");
  });
});

describe("a short outage", () => {
  it("is ridden out", async () => {
    vi.useFakeTimers();
    const answers = ["unreachable" as const, { status: 503, body: "" }, { body: [] }];
    const calls = fakeServer({ "GET /books": () => answers.shift()! });
    const books = listBooks();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await books).toEqual([]);
    expect(calls).toHaveLength(3);
  });

  it("is reported when it goes on", async () => {
    vi.useFakeTimers();
    fakeServer({ "GET /books": "unreachable" });
    const failed = expect(listBooks()).rejects.toMatchObject({ status: 0, temporary: true });
    await vi.advanceTimersByTimeAsync(5_000);
    await failed;
  });

  it("repeats a note under the same id", async () => {
    vi.useFakeTimers();
    const answers = [{ status: 502, body: "" }, { status: 201, body: {} }];
    const calls = fakeServer({ "POST /books/b/notes": () => answers.shift()! });
    const note = { id: uuid(), chapter: 1, text: "Hm." };
    const sent = addNote("b", note);
    await vi.advanceTimersByTimeAsync(5_000);
    await sent;
    expect(calls.map((call) => call.body)).toEqual([note, note]);
  });
});

it("deletes a book that is already gone without complaint", async () => {
  fakeServer({ "DELETE /books/x": { status: 404, body: { detail: "Gone" } } });
  await expect(deleteBook("x")).resolves.toBeUndefined();
});

it("uploads with progress, and rejects with the server's reason", async () => {
  const sent: FormData[] = [];
  class FakeXhr {
    upload: { onprogress?: (event: object) => void } = {};
    onload = () => {};
    onerror = () => {};
    status = 415;
    responseText = '{"detail":"This is not an EPUB."}';
    open() {}
    send(form: FormData) {
      sent.push(form);
      this.upload.onprogress?.({ lengthComputable: true, loaded: 1, total: 4 });
      this.onload();
    }
  }
  vi.stubGlobal("XMLHttpRequest", FakeXhr);
  const progress = vi.fn();
  const upload = uploadBook(new File(["x"], "a.epub"), progress);
  await expect(upload).rejects.toMatchObject({ status: 415, message: "This is not an EPUB." });
  expect(progress).toHaveBeenCalledWith(25);
  expect((sent[0]?.get("file") as File).name).toBe("a.epub");
});

it("makes version 4 UUIDs, with and without crypto.randomUUID", () => {
  const v4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  expect(uuid()).toMatch(v4);
  vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
  expect(uuid()).toMatch(v4);
});
