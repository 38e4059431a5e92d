"""Reads an HTML page as a list of its elements."""

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "link", "br"}
EVIL = """</script><img src=x onerror=alert(1)> "it's" & 'that' $title ${script} <!-- --> é 猫"""


class Elements(HTMLParser):
    """All elements in order, and text; complains of ends that fit no start."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]
