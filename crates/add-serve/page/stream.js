// The WebSocket to the server: a request goes out as text; an answer comes back as a header in text and a PNG behind it.
//
// Requests of one lane belong together: only the latest counts. The server drops those of a lane that still wait; here
// answers older than what a lane already shows are passed over, and a lane has no more than a few requests under way.

const FIRST_WAIT = 250;
const LONGEST_WAIT = 5000;
export class Stream {
  #socket = null;
  #next = 1;
  #wait = FIRST_WAIT;
  #header = null;
  /** By name: what is known of a lane. */
  #lanes = new Map();
  /** By id: lane and listener. */
  #listeners = new Map();

  /** `state` is told "open" or "closed". */
  constructor(path, state) {
    const url = new URL(path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.url = url;
    this.state = state;
    this.#connect();
  }

  /**
   * Asks for a picture; `listener` gets `{header, png}` for each one that comes, or `{problem}`, and whether it is the last.
   * No more than `most` of a lane are on their way: a newer request takes the place of the one that waits here.
   */
  ask(name, fields, listener, most) {
    const id = this.#next++;
    const lane = this.#lane(name);
    const message = JSON.stringify({ id, lane: lane.number, ...fields });
    this.#listeners.set(id, { lane, listener });
    lane.newest = { id, message };
    if (lane.sent.size >= most) {
      if (lane.held) this.#listeners.delete(lane.held.id);
      lane.held = lane.newest;
    } else {
      this.#send(lane, lane.newest);
    }
    return id;
  }

  /** Forgets what a lane waits for. */
  drop(name) {
    const lane = this.#lane(name);
    lane.newest = lane.held = null;
    for (const [id, known] of this.#listeners) if (known.lane === lane) known.listener = () => {};
  }

  #lane(name) {
    if (!this.#lanes.has(name)) {
      this.#lanes.set(name, { number: this.#lanes.size, sent: new Set(), held: null, newest: null, shown: 0 });
    }
    return this.#lanes.get(name);
  }

  #send(lane, { id, message }) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    lane.sent.add(id);
    this.#socket.send(message);
  }

  #connect() {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wait = FIRST_WAIT;
      this.state("open");
      for (const lane of this.#lanes.values()) if (lane.newest) this.#send(lane, lane.newest);
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = () => {
      this.state("closed");
      this.#header = null;
      for (const lane of this.#lanes.values()) {
        lane.sent.clear();
        lane.held = null;
      }
      setTimeout(() => this.#connect(), this.#wait);
      this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
    };
    this.#socket = socket;
  }

  #receive(data) {
    if (typeof data !== "string") {
      const header = this.#header;
      this.#header = null;
      if (header) this.#hand(header.id, { header, png: data }, header.step >= header.of);
      return;
    }
    const header = JSON.parse(data);
    if (header.error) this.#hand(header.id, { problem: header.field ? `${header.field}: ${header.error}` : header.error }, true);
    else if (header.cancelled) this.#end(header.id);
    else this.#header = header;
  }

  #hand(id, answer, last) {
    const known = this.#listeners.get(id);
    if (last) this.#end(id);
    if (!known || id < known.lane.shown) return;
    known.lane.shown = id;
    known.listener(answer, last);
  }

  /** A request has had its last answer: the one that was held goes out. */
  #end(id) {
    const known = this.#listeners.get(id);
    if (!known) return;
    const { lane } = known;
    this.#listeners.delete(id);
    lane.sent.delete(id);
    if (lane.newest?.id === id) lane.newest = null;
    const held = lane.held;
    lane.held = null;
    if (held) this.#send(lane, held);
  }
}
