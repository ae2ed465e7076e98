// Each keystroke asks for a picture; what waits for an older one is given up.
const prompt = document.getElementById("prompt");
const picture = document.getElementById("picture");
const status = document.getElementById("status");
const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/[^/]*$/, "api/stream"));
socket.binaryType = "blob";
let header = null;
let number = 0;

socket.onmessage = ({ data }) => {
  if (typeof data === "string") {
    header = JSON.parse(data);
    if (header.error) status.textContent = header.error;
    return;
  }
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(data);
  status.textContent = `${header.ms_compute.toFixed(1)} ms`;
};
prompt.oninput = () => socket.send(JSON.stringify({ id: ++number, prompt: prompt.value }));
