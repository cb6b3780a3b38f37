/**
 * Lets xterm.js draw under `style-src 'self'`.
 *
 * Its DOM renderer writes rules into `<style>` elements and colours into `style` attributes; a strict
 * policy refuses both, but not the CSSOM. So the document handed to xterm makes, in place of a `<style>`,
 * an element whose text goes into a constructed style sheet, and spans whose `style` attribute is set
 * through the CSSOM.
 */

/** A document for xterm's `documentOverride`. Everything but `createElement` is the real one's. */
export function styleSafeDocument(real: Document): Document {
  const methods = new Map<string | symbol, unknown>([['createElement', (tag: string) => createSafe(real, tag)]]);
  return new Proxy(real, {
    get(target, property) {
      const known = methods.get(property);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      // Native methods insist on the real document as `this`.
      const bound: unknown = value.bind(target);
      methods.set(property, bound);
      return bound;
    },
    set(target, property, value) {
      return Reflect.set(target, property, value, target);
    },
  });
}

/**
 * Runs `action` while the page's own document makes such elements too: xterm's viewport takes the page's
 * document, whatever document it was given.
 */
export function withStyleSafePage(action: () => void): void {
  Object.defineProperty(document, 'createElement', {
    value: (tag: string) => createSafe(document, tag),
    configurable: true,
  });
  try {
    action();
  } finally {
    Reflect.deleteProperty(document, 'createElement');
  }
}

function createSafe(real: Document, tag: string): HTMLElement {
  const create = (name: string) => Document.prototype.createElement.call(real, name);
  // Even an empty style element is reported as a violation, so something inert takes its place.
  if (tag === 'style') return withSheet(create('template'), real);
  const element = create(tag);
  if (tag === 'span') redirectStyleAttribute(element);
  return element;
}

/** Makes the element's text the rules of a constructed sheet, for as long as the element lives. */
function withSheet(element: HTMLElement, real: Document): HTMLElement {
  const sheet = new CSSStyleSheet();
  let text = '';
  Object.defineProperty(element, 'textContent', {
    get: () => text,
    set: (value: string) => {
      text = value;
      sheet.replaceSync(value);
      if (!real.adoptedStyleSheets.includes(sheet)) real.adoptedStyleSheets.push(sheet);
    },
  });
  const remove = element.remove.bind(element);
  element.remove = () => {
    real.adoptedStyleSheets = real.adoptedStyleSheets.filter((one) => one !== sheet);
    remove();
  };
  return element;
}

function redirectStyleAttribute(element: HTMLElement): void {
  const setAttribute = element.setAttribute.bind(element);
  element.setAttribute = (name, value) => {
    if (name === 'style') element.style.cssText = value;
    else setAttribute(name, value);
  };
}
