/**
 * Lets xterm.js draw under `style-src 'self'`.
 *
 * Its DOM renderer writes rules into `<style>` elements and colours into the `style` attribute of spans. A
 * strict policy refuses both, but not the CSSOM, so both are sent there. The page itself makes no `<style>`
 * element and sets no `style` attribute, so nothing else is touched.
 */

let done = false;

/** To be called before the first terminal opens. */
export function drawThroughCssom(): void {
  if (done) return;
  done = true;
  const create = Document.prototype.createElement;
  // Even an empty style element counts as a violation, so something inert takes its place.
  document.createElement = ((tag: string, options?: ElementCreationOptions) =>
    tag === 'style' ? withSheet(create.call(document, 'template')) : create.call(document, tag, options)) as Document['createElement'];

  const setAttribute = Element.prototype.setAttribute;
  HTMLSpanElement.prototype.setAttribute = function (name, value) {
    if (name === 'style') this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };
}

/** Makes the element's text the rules of a constructed sheet, for as long as the element lives. */
function withSheet(element: HTMLElement): HTMLElement {
  const sheet = new CSSStyleSheet();
  let text = '';
  Object.defineProperty(element, 'textContent', {
    get: () => text,
    set: (value: string) => {
      text = value;
      sheet.replaceSync(value);
      if (!document.adoptedStyleSheets.includes(sheet)) document.adoptedStyleSheets.push(sheet);
    },
  });
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
    remove();
  };
  return element;
}
