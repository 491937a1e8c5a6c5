import { fireEvent, render, screen, waitFor } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { App } from "../src/App";
import { paragraphsOf } from "../src/reader/paragraphs";
import { fakeServer, FakeSocket, type Call } from "./fakes";

const chapters = [1, 2, 3].map((number) => ({ number, title: `Part ${number}` }));
const emma = { id: "b", title: "Emma", state: "ready", progress: 100 };
const server = (more: Parameters<typeof fakeServer>[0] = {}) =>
  fakeServer({
    "GET /version": { body: { release: "1" } },
    "GET /books": { body: [emma] },
    "GET /books/b": { body: { ...emma, chapters, position: { chapter: 2, offset: 0.5 } } },
    "GET /books/b/notes": { body: [{ id: "n", chapter: 2, text: "Mark this." }] },
    "PUT /books/b/position": { status: 204 },
    ...Object.fromEntries(chapters.map((c) => [`GET /books/b/chapters/${c.number}`, { body: { ...c, text: `Text ${c.number}.` } }])),
    ...more,
  });
const saves = (calls: Call[]) => calls.filter((call) => call.method === "PUT").map((call) => call.body);

/** A text 4000 px high that begins 100 px below the top of the page. */
function layOut() {
  vi.spyOn(HTMLElement.prototype, "getBoundingClientRect").mockImplementation(
    () => ({ top: 100 - window.scrollY, bottom: 4100 - window.scrollY, height: 4000 }) as DOMRect,
  );
  const scrollTo = vi.fn((_x: number, y: number) => ((window as { scrollY: number }).scrollY = y));
  vi.stubGlobal("scrollTo", scrollTo);
  return scrollTo;
}

beforeEach(() => {
  FakeSocket.install();
  (window as { scrollY: number }).scrollY = 0;
  window.location.hash = "#/books/b";
});

describe("the place in the book", () => {
  it("is restored", async () => {
    const scrollTo = layOut();
    server();
    render(<App />);
    expect(await screen.findByText("Text 2.")).toBeTruthy();
    expect(scrollTo).toHaveBeenLastCalledWith(0, 100 + 2000 - 72);
    expect(screen.getByRole("link", { name: /Part 2/ }).getAttribute("aria-current")).toBe("page");
    expect(screen.getByText("50 %")).toBeTruthy();
  });

  it("is saved once the scrolling has paused", async () => {
    layOut();
    const calls = server();
    render(<App />);
    await screen.findByText("Text 2.");
    for (const y of [2200, 2600, 3028]) {
      (window as { scrollY: number }).scrollY = y;
      fireEvent.scroll(window);
    }
    expect(saves(calls)).toEqual([]);
    await waitFor(() => expect(saves(calls)).toEqual([{ chapter: 2, offset: 0.75 }]), { timeout: 2_000 });
  });

  it("is saved at once when the page is left", async () => {
    layOut();
    const calls = server();
    render(<App />);
    await screen.findByText("Text 2.");
    (window as { scrollY: number }).scrollY = 3028;
    fireEvent.scroll(window);
    fireEvent(window, new Event("pagehide"));
    expect(saves(calls)).toEqual([{ chapter: 2, offset: 0.75 }]);
  });
});

it("turns with the arrow keys to the top of the next chapter, but not while typing", async () => {
  const scrollTo = layOut();
  server();
  render(<App />);
  await screen.findByText("Text 2.");
  fireEvent.keyDown(screen.getByRole("textbox"), { key: "ArrowRight" });
  expect(window.location.hash).toBe("#/books/b");
  fireEvent.keyDown(document.body, { key: "ArrowRight" });
  expect(await screen.findByText("Text 3.")).toBeTruthy();
  expect(scrollTo).toHaveBeenLastCalledWith(0, 0);
  expect(screen.getByText("The end")).toBeTruthy();
});

it("keeps a note, and sends it again under the same id when that failed", async () => {
  const answers = [{ status: 507, body: { detail: "The disk is full." } }, { status: 201, body: {} }];
  const calls = server({ "POST /books/b/notes": () => answers.shift()! });
  render(<App />);
  expect(await screen.findByText("Mark this.")).toBeTruthy();
  fireEvent.change(screen.getByRole("textbox"), { target: { value: "And this." } });
  fireEvent.click(screen.getByRole("button", { name: "Keep note" }));
  expect(await screen.findByText(/The disk is full\./)).toBeTruthy();
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  await waitFor(() => expect(screen.queryByText(/The disk is full/)).toBeNull());
  const [first, second] = calls.filter((call) => call.method === "POST");
  expect(first?.body).toMatchObject({ chapter: 2, text: "And this." });
  expect(second?.body).toEqual(first?.body);
});

it("joins wrapped lines and drops a repeated heading", () => {
  expect(paragraphsOf("PART ONE.\r\n\r\nIt was\r\nlate.\n\n\nVery late.", "Part One")).toEqual(["It was late.", "Very late."]);
  const long = "word ".repeat(40).trim();
  expect(paragraphsOf(`${long}\n${long}`, "x")).toEqual([long, long]);
});
