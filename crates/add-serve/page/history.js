// Pictures that were made, with their settings, in the browser's own database: they outlive a reload and the server.

const NAME = "add-history";
const STORE = "pictures";
/** More than these are forgotten, the oldest first. */
const MOST = 200;

let database = null;

function open() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return database;
}

/** Runs `work` on the store and resolves with its result once everything is written. */
async function within(mode, work) {
  const transaction = (await open()).transaction(STORE, mode);
  const request = work(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onerror = () => reject(transaction.error);
  });
}

/** Keeps a picture: `{time, settings, png}`. Resolves with its id. */
export async function keep(entry) {
  const id = await within("readwrite", (store) => store.add(entry));
  const keys = await within("readonly", (store) => store.getAllKeys());
  const old = keys.slice(0, Math.max(0, keys.length - MOST));
  if (old.length > 0) await within("readwrite", (store) => store.delete(IDBKeyRange.upperBound(old.at(-1))));
  return id;
}

/** All pictures, the newest first. */
export const all = async () => (await within("readonly", (store) => store.getAll())).reverse();

/** Forgets one. */
export const forget = (id) => within("readwrite", (store) => store.delete(id));

/** Forgets everything. */
export const clear = () => within("readwrite", (store) => store.clear());
