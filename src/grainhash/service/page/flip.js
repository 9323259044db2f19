// Lets elements glide from where they were to where they are, so that the eye can follow a new order.

const DURATION = 260;
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

/**
 * @param {Element[]} elements
 * @param {() => void} reorder
 */
export function glide(elements, reorder) {
  if (calm.matches) {
    reorder();
    return;
  }
  const before = new Map(elements.map((element) => [element, element.getBoundingClientRect()]));
  reorder();
  for (const [element, from] of before) {
    if (!element.isConnected) continue;
    const to = element.getBoundingClientRect();
    const [x, y] = [from.left - to.left, from.top - to.top];
    if (!x && !y) continue;
    element.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: DURATION, easing: "ease-out" });
  }
}
