import { beforeEach, describe, expect, it, vi } from "vitest";
import { followEvents, reconnectDelay } from "../src/lib/events";
import { FakeSocket } from "./fakes";

const handlers = { onProgress: vi.fn(), onOpen: vi.fn(), onLost: vi.fn() };

beforeEach(() => {
  vi.useFakeTimers();
  vi.clearAllMocks();
  FakeSocket.install();
});

describe("reconnectDelay", () => {
  it("is short and spread out after a restart (1012), however often", () => {
    expect(reconnectDelay(1012, 0, () => 0)).toBe(250);
    expect(reconnectDelay(1012, 9, () => 1)).toBe(2_000);
  });

  it("backs off up to a limit after anything else", () => {
    expect([0, 1, 2, 3].map((attempt) => reconnectDelay(1006, attempt, () => 1))).toEqual([1e3, 2e3, 4e3, 8e3]);
    expect(reconnectDelay(1006, 50, () => 1)).toBe(30_000);
    expect(reconnectDelay(1006, 0, () => 0)).toBe(500);
  });
});

describe("followEvents", () => {
  it("connects again within two seconds of a restart and says so", () => {
    const stop = followEvents(handlers);
    FakeSocket.last.open();
    FakeSocket.last.drop(1012);
    expect(handlers.onLost).toHaveBeenCalledOnce();
    vi.advanceTimersByTime(2_001);
    expect(FakeSocket.all).toHaveLength(2);
    FakeSocket.last.open();
    expect(handlers.onOpen).toHaveBeenCalledTimes(2);
    stop();
  });

  it("waits longer each time while the server stays away", () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const stop = followEvents(handlers);
    for (const wait of [1_000, 2_000, 4_000]) {
      const before = FakeSocket.all.length;
      FakeSocket.last.drop(1006);
      vi.advanceTimersByTime(wait - 1);
      expect(FakeSocket.all).toHaveLength(before);
      vi.advanceTimersByTime(1);
      expect(FakeSocket.all).toHaveLength(before + 1);
    }
    stop();
  });

  it("passes progress on, ignores what it does not know, and stops for good", () => {
    const stop = followEvents(handlers);
    const socket = FakeSocket.last;
    expect(socket.url).toMatch(/^ws:\/\/[^/]+\/api\/events$/);
    socket.open();
    socket.say({ type: "progress", book: "b", state: "parsing", progress: 5 });
    socket.say({ type: "weather" });
    socket.onmessage({ data: "not json" });
    expect(handlers.onProgress).toHaveBeenCalledOnce();
    stop();
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    expect(handlers.onLost).not.toHaveBeenCalled();
  });
});
