import { act, fireEvent, render, screen, within } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { App } from "../src/App";
import type { Book } from "../src/lib/types";
import { fakeServer, FakeSocket } from "./fakes";

const version = { "GET /version": { body: { release: "1.2.3" } } };
const book = (change: Partial<Book>): Book => ({ id: "b", title: "Emma", state: "ready", progress: 100, ...change });

beforeEach(() => FakeSocket.install());

it("invites to add a book when the shelf is empty, and shows the release", async () => {
  fakeServer({ ...version, "GET /books": { body: [] } });
  render(<App />);
  expect(await screen.findByText("Your shelf is waiting")).toBeTruthy();
  expect(screen.getByRole("button", { name: "Add books" })).toBeTruthy();
  expect(await screen.findByText("Release 1.2.3")).toBeTruthy();
});

describe("a book", () => {
  it("is a link when it is ready, and tells why when it failed", async () => {
    const failed = book({ id: "f", title: "Scan", state: "failed", error: "No text was found." });
    fakeServer({ ...version, "GET /books": { body: [book({}), failed] } });
    render(<App />);
    expect((await screen.findByRole("link", { name: "Emma" })).getAttribute("href")).toBe("#/books/b");
    expect(screen.getByText(/No text was found\./)).toBeTruthy();
    expect(screen.queryByRole("link", { name: "Scan" })).toBeNull();
  });

  it("follows the events from queued to ready, aloud", async () => {
    let list = [book({ state: "queued", progress: 0 })];
    fakeServer({ ...version, "GET /books": () => ({ body: list }) });
    render(<App />);
    const bar = await screen.findByRole("progressbar", { name: "Preparing Emma" });
    act(() => FakeSocket.last.say({ type: "progress", book: "b", state: "parsing", progress: 40 }));
    expect(bar.getAttribute("value")).toBe("40");
    list = [book({ author: "Jane Austen" })];
    act(() => FakeSocket.last.say({ type: "progress", book: "b", state: "ready", progress: 100 }));
    expect(screen.getByText("Emma is ready to read")).toBeTruthy();
    expect((await screen.findAllByText("Jane Austen")).length).toBeGreaterThan(0);
  });

  it("is deleted only after it was confirmed", async () => {
    let list = [book({})];
    const calls = fakeServer({
      ...version,
      "GET /books": () => ({ body: list }),
      "DELETE /books/b": () => ((list = []), { status: 204 }),
    });
    render(<App />);
    fireEvent.click(await screen.findByRole("button", { name: "Delete Emma" }));
    expect(calls.some((call) => call.method === "DELETE")).toBe(false);
    fireEvent.click(within(screen.getByRole("dialog")).getByRole("button", { name: "Delete" }));
    expect(await screen.findByText("Your shelf is waiting")).toBeTruthy();
  });
});

it("reloads the list when the connection is back", async () => {
  let list: Book[] = [];
  fakeServer({ ...version, "GET /books": () => ({ body: list }) });
  render(<App />);
  await screen.findByText("Your shelf is waiting");
  act(() => FakeSocket.last.drop(1012));
  expect(screen.getByText("Connection lost, reconnecting…")).toBeTruthy();
  list = [book({})];
  act(() => FakeSocket.last.open());
  expect(await screen.findByRole("link", { name: "Emma" })).toBeTruthy();
  expect(screen.queryByText("Connection lost, reconnecting…")).toBeNull();
});

it("refuses a file of another kind without sending it", async () => {
  fakeServer({ ...version, "GET /books": { body: [] } });
  render(<App />);
  await screen.findByText("Your shelf is waiting");
  const input = screen.getByLabelText("Book files");
  fireEvent.change(input, { target: { files: [new File(["x"], "photo.png")] } });
  expect(screen.getByRole("alert").textContent).toBe("Only .txt and .epub files can be read.");
  fireEvent.click(screen.getByRole("button", { name: "Dismiss" }));
  expect(screen.queryByText("photo.png")).toBeNull();
});
