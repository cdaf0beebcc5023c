// Frames from the server: an acknowledged web socket, so that a slow page slows no other.
const RETRY_MS = [300, 700, 1500, 3000];
// The state comes five times a second: a demo that says nothing for so long hangs, though its socket stays open.
const SILENCE_MS = 3000;

// An image is asked for at another width where that differs by so much.
const OTHER_WIDTH = 0.1;

/**
 * Connects, and again after a loss. onFrame(header, image, seen) paints and returns; onState(state); onLink(word). width()
 * returns how wide an image is shown, in pixels of the screen; 0 where it is not shown.
 */
export class Stream {
  constructor({ onFrame, onState, onLink, width }) {
    Object.assign(this, { onFrame, onState, onLink, width });
    this.failures = 0;
    this.seen = false;
    this.connect();
    setInterval(() => this.listen(), 1000);
  }

  listen() {
    this.askWidth();
    if (this.socket.readyState !== WebSocket.OPEN || performance.now() - this.heard < SILENCE_MS) return;
    this.heard = Infinity;
    this.onLink("silent");
  }

  /** Ask for the image that the defended detector is given, or no longer. */
  wantSeen(on) {
    this.seen = on;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ seen: on }));
  }

  askWidth() {
    const width = Math.round(this.width());
    if (!width || this.socket.readyState !== WebSocket.OPEN || Math.abs(width - this.asked) < OTHER_WIDTH * width) return;
    this.asked = width;
    this.socket.send(JSON.stringify({ width }));
  }

  connect() {
    this.onLink("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws/frames`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    // A demo that was started again numbers its frames from 0.
    this.painted = -1;
    this.asked = 0;
    socket.onopen = () => {
      this.failures = 0;
      this.heard = performance.now();
      this.onLink("open");
      if (this.seen) this.wantSeen(true);
      this.askWidth();
    };
    socket.onmessage = (event) => {
      this.heard = performance.now();
      if (typeof event.data === "string") this.onState(JSON.parse(event.data));
      else this.paint(socket, event.data);
    };
    socket.onclose = () => {
      this.onLink("lost");
      setTimeout(() => this.connect(), RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)]);
      this.failures += 1;
    };
  }

  async paint(socket, data) {
    const length = new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const start = 4 + length;
    try {
      const [image, seen] = await Promise.all([
        decoded(new Uint8Array(data, start, header.jpeg)),
        header.seen ? decoded(new Uint8Array(data, start + header.jpeg, header.seen)) : null,
      ]);
      // Decoding may finish out of order: an older frame must not cover a newer one.
      if (this.socket === socket && header.n >= this.painted) {
        this.painted = header.n;
        this.onFrame(header, image, seen);
      }
      image.close();
      seen?.close();
    } finally {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: header.n }));
    }
  }
}

const decoded = (bytes) => createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
