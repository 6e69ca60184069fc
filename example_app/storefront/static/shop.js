// What scripts add to a shop that works without them: no page load for the cart, and a live counter.

const counter = document.getElementById("cart-count");
const notices = document.getElementById("notices");
const CART = counter.dataset.cart;
const UNREACHABLE = "We cannot reach the shop right now. Please try again in a moment.";

/** Send a change to the cart; resolves to null when it is done, else to the reason why it is not. */
async function change(form, method, path, body) {
  const headers = { Accept: "application/json", "X-CSRF-Token": form.elements.csrf_token?.value ?? "" };
  if (body) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(CART + path, { method, headers, body: body && JSON.stringify(body) });
    if (response.ok) return null;
    if (response.status >= 500) return UNREACHABLE;
    const { errors, message } = await response.json();
    return Object.values(errors ?? {})[0]?.[0] ?? message ?? UNREACHABLE;
  } catch {
    return UNREACHABLE;
  }
}

function say(text, isBad = false) {
  const notice = document.createElement("p");
  notice.className = isBad ? "notice bad" : "notice";
  notice.textContent = text;
  notices.replaceChildren(notice);
}

async function count() {
  try {
    const response = await fetch(CART, { headers: { Accept: "application/json" } });
    if (!response.ok) return;
    const { data } = await response.json();
    counter.textContent = data.count || "";
  } catch {
    // The counter is a nicety: without the network the last number stands.
  }
}

/** Show the cart as the server renders it now, and keep the focus where it was. */
async function redraw() {
  const response = await fetch(location.href);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const [here, there] = [document.getElementById("cart"), page.getElementById("cart")];
  if (!there) return location.reload();
  const focused = document.activeElement.id;
  here.replaceWith(there);
  // Whoever removed a line stood on a button that is gone.
  (document.getElementById(focused) ?? document.getElementById("main")).focus({ preventScroll: true });
}

async function add(form, button) {
  const item = Object.fromEntries(new FormData(form, button));
  const wanted = { product_id: Number(item.product_id), quantity: Number(item.quantity ?? 1) };
  button.disabled = true;
  const reason = await change(form, "POST", "/items", wanted);
  button.disabled = false;
  button.focus();
  say(reason ?? "Added to your cart.", reason !== null);
  if (reason === null) await count();
}

async function update(form, button) {
  // Enter means "change" and "submit" to a browser, one after the other; the redraw brings a fresh form.
  if ("busy" in form.dataset) return;
  form.dataset.busy = "";
  const path = `/items/${form.dataset.item}`;
  const removing = button?.name === "remove";
  const reason = removing
    ? await change(form, "DELETE", path)
    : await change(form, "PATCH", path, { quantity: Number(form.elements.quantity.value) });
  say(reason ?? (removing ? "Removed from your cart." : "Your cart is up to date."), reason !== null);
  await Promise.all([redraw(), count()]);
}

document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (form.matches("[data-add]") && submitter) {
    event.preventDefault();
    add(form, submitter);
  } else if (form.matches("[data-item]")) {
    event.preventDefault();
    update(form, submitter);
  }
});

document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-item] input[type=number]")) target.form.requestSubmit();
});

if ("session" in counter.dataset) count();
