"""Plain SVG for the course's pictures: boxes, words, lines and arrows.

A picture has its own background and two sets of colours, of which the viewer takes the one for light
or dark pages (prefers-color-scheme), so that it can be read on both. Kinds of boxes and words:

    plain    neutral          key      what the picture is about
    value    data             old      what is not used, or was
    warm     a second group   quiet    words that explain

    drawing = Drawing(600, 300, "title", "what it shows, for those who cannot see it")
    drawing.box(20, 20, 100, 40, "picks", "key")
    drawing.save(__file__)              # NN_name.py writes NN_name.svg beside itself
"""

import pathlib
from xml.sax.saxutils import escape

LIGHT = {
    "ground": "#ffffff", "ink": "#1f2328", "quiet": "#59636e", "rule": "#8c959f",
    "plain": "#f3f4f6", "key": "#cfe4ff", "value": "#d3f2d9", "warm": "#ffe3c2", "old": "#ffffff",
    "key_edge": "#0969da", "value_edge": "#1a7f37", "warm_edge": "#bc4c00",
}
DARK = {
    "ground": "#0d1117", "ink": "#e6edf3", "quiet": "#9aa4af", "rule": "#7d8590",
    "plain": "#21262d", "key": "#10355f", "value": "#12391f", "warm": "#4d2a0b", "old": "#0d1117",
    "key_edge": "#58a6ff", "value_edge": "#3fb950", "warm_edge": "#f0883e",
}


def _rules(colours):
    rules = [
        ".ground{fill:%(ground)s}" % colours,
        "text{fill:%(ink)s;font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',"
        "Helvetica,Arial,sans-serif}" % colours,
        ".mono{font-family:ui-monospace,'SF Mono',Menlo,Consolas,monospace}",
        ".quiet{fill:%(quiet)s}" % colours,
        ".rule{stroke:%(rule)s;fill:none}" % colours,
        ".head{fill:%(rule)s}" % colours,
        ".plain{fill:%(plain)s;stroke:%(rule)s}" % colours,
        ".old{fill:%(old)s;stroke:%(rule)s;stroke-dasharray:4 3}" % colours,
    ]
    for kind in ("key", "value", "warm"):
        rules.append(".%s{fill:%s;stroke:%s}" % (kind, colours[kind], colours[kind + "_edge"]))
        rules.append(".%s_line{stroke:%s;fill:none}" % (kind, colours[kind + "_edge"]))
        rules.append(".%s_head{fill:%s}" % (kind, colours[kind + "_edge"]))
        rules.append("text.%s_word{fill:%s}" % (kind, colours[kind + "_edge"]))
    return "".join(rules)


class Drawing:
    def __init__(self, width, height, title, description):
        self._parts = []
        self._head = (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
            'role="img">\n<title>%s</title>\n<desc>%s</desc>\n<style>%s\n'
            "@media (prefers-color-scheme:dark){%s}</style>\n"
            '<rect class="ground" width="%d" height="%d" rx="8"/>\n'
        ) % (width, height, width, height, escape(title), escape(description), _rules(LIGHT),
             _rules(DARK), width, height)

    def text(self, x, y, words, size=14, anchor="start", kind="", mono=False, bold=False):
        """Words whose base line begins (start), centres (middle) or ends (end) at x."""
        kinds = " ".join(k for k in (kind, "mono" if mono else "") if k)
        self._parts.append(
            '<text x="%g" y="%g" font-size="%g" text-anchor="%s"%s%s xml:space="preserve">%s</text>'
            % (x, y, size, anchor, ' class="%s"' % kinds if kinds else "",
               ' font-weight="600"' if bold else "", escape(words)))

    def box(self, x, y, width, height, words="", kind="plain", size=14, mono=False, bold=False):
        """A rectangle with words in its middle; a line feed begins a second line."""
        self._parts.append(
            '<rect class="%s" x="%g" y="%g" width="%g" height="%g" rx="3"/>'
            % (kind, x, y, width, height))
        lines = words.split("\n") if words else []
        for i, line in enumerate(lines):
            base = y + height / 2 + size * 0.35 + (i - (len(lines) - 1) / 2) * size * 1.25
            self.text(x + width / 2, base, line, size, "middle", mono=mono, bold=bold)

    def line(self, points, kind="rule", width=1.5, dashed=False):
        self._parts.append(
            '<polyline class="%s" points="%s" stroke-width="%g"%s/>'
            % (kind if kind == "rule" else kind + "_line",
               " ".join("%g,%g" % point for point in points), width,
               ' stroke-dasharray="5 4"' if dashed else ""))

    def arrow(self, points, kind="rule", width=1.5, dashed=False):
        """A line whose last point is the tip of an arrow."""
        (x0, y0), (x1, y1) = points[-2], points[-1]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        back = (x1 - 8 * ux, y1 - 8 * uy)
        self.line(points[:-1] + [back], kind, width, dashed)
        self._parts.append(
            '<polygon class="%s" points="%g,%g %g,%g %g,%g"/>'
            % ("head" if kind == "rule" else kind + "_head", x1, y1, back[0] - 4 * uy,
               back[1] + 4 * ux, back[0] + 4 * uy, back[1] - 4 * ux))

    def save(self, script):
        path = pathlib.Path(script).with_suffix(".svg")
        path.write_text(self._head + "\n".join(self._parts) + "\n</svg>\n", encoding="utf-8")
