// The visitor's own camera as the demo's source: getUserMedia, JPEG, web socket; two frames under way at most.
const QUALITY = 0.85;
const REASONS = {
  NotAllowedError: "The camera was not allowed. Allow it by the sign beside the page’s address, then press again.",
  NotFoundError: "This device has no camera that the browser can find.",
  NotReadableError: "Another program has the camera. Close it there, then press again.",
};

export class BrowserCamera {
  /** onEnd(reason) is called when it stops by itself. */
  constructor(onEnd) {
    this.onEnd = onEnd;
    this.on = false;
    this.asking = false;
  }

  /** Whether a page opened like this one is given a camera at all. */
  static get possible() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  /** Ask for the camera and send what it shows. Throws Error with what the visitor can do. */
  async start() {
    const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
    this.asking = true;
    try {
      this.media = await navigator.mediaDevices.getUserMedia({ video });
    } catch (error) {
      throw new Error(REASONS[error.name] || `The camera cannot be used: ${error.message}`);
    } finally {
      this.asking = false;
    }
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true, srcObject: this.media });
    await this.video.play();
    this.canvas = new OffscreenCanvas(this.video.videoWidth, this.video.videoHeight);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/ws/camera`);
    this.socket.binaryType = "arraybuffer";
    this.pending = 0;
    this.on = true;
    this.socket.onmessage = () => { this.pending = Math.max(0, this.pending - 1); };
    this.socket.onclose = (event) => { if (this.on) { this.stop(); this.onEnd(event.reason || "the camera's connection was closed"); } };
    this.media.getVideoTracks()[0].onended = () => { if (this.on) { this.stop(); this.onEnd("the camera was taken away"); } };
    this.next();
  }

  stop() {
    this.on = false;
    this.socket?.close();
    this.media?.getTracks().forEach((track) => track.stop());
  }

  next() {
    if (!this.on) return;
    const again = (_, meta) => {
      this.grab(meta?.captureTime ?? performance.now());
      this.next();
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(again);
    else setTimeout(again, 33);
  }

  async grab(capturedMs) {
    if (this.pending >= 2 || this.busy || this.socket.readyState !== WebSocket.OPEN) return;
    this.busy = true;
    try {
      const { videoWidth: w, videoHeight: h } = this.video;
      if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
      this.canvas.getContext("2d").drawImage(this.video, 0, 0);
      const jpeg = await (await this.canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY })).arrayBuffer();
      const message = new Uint8Array(8 + jpeg.byteLength);
      new DataView(message.buffer).setFloat64(0, capturedMs, true);
      message.set(new Uint8Array(jpeg), 8);
      if (this.on && this.socket.readyState === WebSocket.OPEN) {
        this.socket.send(message);
        this.pending += 1;
      }
    } finally {
      this.busy = false;
    }
  }
}
