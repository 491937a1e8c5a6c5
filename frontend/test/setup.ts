import { cleanup } from "@testing-library/react";
import { afterEach, vi } from "vitest";

// What jsdom does not have.
window.scrollTo = vi.fn() as unknown as typeof window.scrollTo;
HTMLDialogElement.prototype.showModal = function () {
  this.open = true;
};

afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  window.location.hash = "";
});
