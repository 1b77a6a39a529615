"""Receipts of invented shops, from clean scans to hardly legible photographs.

A fast reader of text gets many of them right, a better and slower one more; that is what they are
for. Each carries three questions: its total, its date, its company.
"""

import datetime
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from . import fonts
from .tasks import Output, Random, Task, chance, pick, split_of, whole, worded
from .wear import jpeg, worn

DOMAIN = "receipts"
COUNT = 90
# The longer side of a finished picture, in pixels: more would only cost the readers time.
MOST_PIXELS = 1000
# Share of receipts that are flat, clean scans.
CLEAN = 0.2

TOTAL_WORDINGS = [
    "What is the total that this receipt comes to?",
    "Which amount is the final one to pay here?",
    "State the total on this till slip.",
    "How much money did this purchase take?",
    "I need the grand total for my expenses; what is it?",
    "Read off the amount the buyer owed at the end.",
    "Tell me the bottom-line total of the bill in the picture.",
    "What was the total charged for everything on it?",
    "Total of this bill, as a plain figure?",
    "What was the whole shopping trip charged at in total?",
    "For my bookkeeping: the total sum on this slip, please.",
    "How much was payable once everything was added up?",
]
DATE_WORDINGS = [
    "When was this purchase made?",
    "Which date is printed on the slip?",
    "Find the day on which these things were bought.",
    "What date does this bill bear?",
    "On what date did the shop hand this out?",
    "I file these by day: which date is on this one?",
    "Give the purchase date of this receipt.",
    "From which day is this till slip?",
    "Tell me the date this was paid on.",
    "The date of this receipt, please?",
    "Which calendar day was it when this was printed at the till?",
    "Name the date of the sale.",
]
COMPANY_WORDINGS = [
    "Whose receipt is this? Give the company as printed.",
    "Which business is named at the head of this bill?",
    "At what company was this money spent?",
    "Name the shop that printed this slip.",
    "What is the merchant called?",
    "Tell me which firm this bill comes from.",
    "The name of the seller, exactly as it stands there?",
    "Which store do these purchases come from?",
    "Who sold these goods, going by the heading?",
    "What company name is at the top?",
    "Under which company name was this sale made?",
    "Name the vendor of this purchase.",
]

OWNERS = (
    "Abernathy Bellweather Calloway Dunmore Elderfield Fennimore Greystone Hollis Ivarsson Jessop "
    "Kestrel Larkspur Merriwick Northgate Oakhurst Pemberley Quillon Rosedale Silverton Thornbury "
    "Umberto Vandermeer Wetherby Yarrow Zimmer Ashdown Brightwell Cobblestone Driftwood Emberly"
).split()
INITIALS = "ABCDEFGHJKLMNPRSTW"
TRADES = (
    "Bakery;Hardware;Pharmacy;Stationery;Book Store;Garden Centre;Trading;Supermarket;Cafe;"
    "Electrical;Mini Market;Restaurant;Kitchen;Enterprise;Sports Shop;Fish Market;Music House;"
    "Toy Corner;Paint Store;Bicycle Service"
).split(";")
FORMS = ["", "", "LTD", "LTD.", "LIMITED", "GMBH", "PTE LTD", "PTY. LTD.", "BHD", "SDN BHD"]
STREETS = (
    "Harbour Road;Mill Street;Station Road;Orchard Avenue;Castle Street;Weaver Road;Lime Avenue;"
    "Quarry Street;Bridge Road;Chapel Street;Market Street;Ferry Road"
).split(";")
TOWNS = "Eastmere Port-Lindow Tarnbridge Willowford Stonehaven Marlbeck Cranleigh Oxmoor".split()
GOODS = (
    "Rye bread;Oat milk 1L;Plum jam;Green tea;Cheddar 200g;Apples 1kg;Notebook A5;Pencil HB;"
    "Glue stick;LED bulb 9W;Wood screws;Paint brush;Copper wire;Soap bar;Shampoo;Toothpaste;"
    "Vitamin C;Plasters;Potting soil;Clay pot;Tomato seeds;Garden hose;Soup of day;Fried rice;"
    "Iced coffee;Lemon cake;Grilled fish;Side salad;Tennis balls;Bike tube;Chain oil;Puzzle 500;"
    "Guitar string;Picture frame;Door hinge;Batteries AA;USB cable;Olive oil;Brown sugar;Honey jar"
).split(";")
CURRENCIES = ["", "", "", "EUR", "USD", "RM", "GBP", "$", "CHF", "AUD"]
TOTAL_LABELS = [
    "TOTAL",
    "Total",
    "GRAND TOTAL",
    "Total Amount",
    "AMOUNT DUE",
    "Total Payable",
    "NET TOTAL",
    "TOTAL DUE",
    "Total incl. tax",
    "Balance Due",
]
FAREWELLS = [
    "Thank you, come again",
    "Goods sold are not returnable",
    "Have a lovely day",
    "Keep this slip for exchange",
    "Rate us online",
    "We hope to see you soon",
]
MONTHS = "January February March April May June July August September October November December"


@dataclass(frozen=True)
class Purchase:
    """What a receipt says. Amounts are cents."""

    company: str
    address: list[str]
    facts: list[str]
    goods: list[tuple[str, int]]
    sums: list[tuple[str, int]]
    total_label: str
    farewell: str
    currency: str
    date: datetime.date

    @property
    def total(self) -> int:
        return dict(self.sums)[self.total_label]


@dataclass(frozen=True)
class Style:
    """How a receipt is laid out."""

    plain: ImageFont.FreeTypeFont
    bold: ImageFont.FreeTypeFont
    title: ImageFont.FreeTypeFont
    width: int
    leading: int
    centred: bool
    bold_total: bool
    rule: str
    ink: tuple[int, int, int]
    paper: tuple[int, int, int]


def money(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"


def company(random: Random) -> str:
    owner, trade, form = pick(random, OWNERS), pick(random, TRADES), pick(random, FORMS)
    patterns = [
        f"{owner} {trade}",
        f"{owner} & {pick(random, OWNERS)} {trade}",
        f"{owner}'s {trade}",
        f"{owner}-{pick(random, OWNERS)} {trade}",
        f"{trade} {owner}",
        f"{pick(random, INITIALS)}.{pick(random, INITIALS)}. {owner} {trade}",
        f"{owner} {trade} ({pick(random, TOWNS)})",
    ]
    name = f"{pick(random, patterns)} {form}".strip()
    return name.upper() if chance(random, 0.6) else name


def day(random: Random) -> datetime.date:
    """Any day whose number cannot be taken for a month, so that every notation is clear."""
    return datetime.date(whole(random, 2015, 2026), whole(random, 1, 12), whole(random, 13, 28))


def notation(date: datetime.date, random: Random) -> str:
    month = MONTHS.split()[date.month - 1]
    notations = [
        date.strftime("%d/%m/%Y"),
        date.strftime("%d-%m-%Y"),
        date.strftime("%d.%m.%Y"),
        date.strftime("%Y-%m-%d"),
        date.strftime("%d/%m/%y"),
        f"{date.day} {month[:3]} {date.year}",
        f"{date.day} {month} {date.year}",
        f"{month[:3]} {date.day}, {date.year}",
        f"{date.day}-{month[:3].upper()}-{date.year}",
    ]
    return pick(random, notations)


def facts(date: datetime.date, random: Random) -> list[str]:
    """The lines between the address and the goods, among them the date."""
    printed = notation(date, random)
    time = f"{whole(random, 8, 21):02}:{whole(random, 0, 59):02}"
    number = f"{whole(random, 1000, 99999)}"
    dated = [
        f"Date: {printed}  {time}",
        f"DATE {printed}",
        f"{printed} {time}",
        f"{printed}",
        f"Date/Time : {printed} {time}",
        f"Bill date {printed}",
    ]
    others = [f"Receipt No: {number}", f"Cashier: {pick(random, OWNERS)}", f"Till {number[:2]}"]
    lines = [pick(random, dated), *others[: whole(random, 1, 3)]]
    order = random.permutation(len(lines))
    return [lines[place] for place in order]


def sums(subtotal: int, random: Random) -> tuple[list[tuple[str, int]], str]:
    """The amounts below the goods, and which of them is the total."""
    lines: list[tuple[str, int]] = []
    total = subtotal
    if chance(random, 0.6):
        lines.append((pick(random, ["Subtotal", "SUB-TOTAL", "Sub Total"]), subtotal))
    if chance(random, 0.3):
        discount = max(5, subtotal * whole(random, 2, 15) // 100)
        lines.append(("Discount", -discount))
        total -= discount
    if chance(random, 0.5):
        rate = pick(random, (5, 6, 7, 10, 19, 20))
        tax = round(total * rate / 100)
        lines.append((f"{pick(random, ['VAT', 'GST', 'TAX'])} {rate}%", tax))
        total += tax
    if chance(random, 0.25):
        rounded = 5 * round(total / 5)
        lines.append(("Rounding", rounded - total))
        total = rounded
    label = pick(random, TOTAL_LABELS)
    lines.append((label, total))
    if chance(random, 0.6):
        note = pick(random, (500, 1000, 2000, 5000))
        cash = -(-total // note) * note
        lines += [("Cash", cash), ("Change", cash - total)]
    elif chance(random, 0.6):
        lines.append((pick(random, ["Card", "VISA", "Paid by card"]), total))
    return lines, label


def purchase(random: Random) -> Purchase:
    goods = []
    for place in random.permutation(len(GOODS))[: whole(random, 2, 8)]:
        price = whole(random, 60, 4500)
        times = whole(random, 1, 4) if chance(random, 0.3) else 1
        name = f"{times} x {GOODS[place]}" if times > 1 else GOODS[place]
        goods.append((name, price * times))
    lines, label = sums(sum(price for _, price in goods), random)
    address = [f"{whole(random, 2, 240)} {pick(random, STREETS)}", pick(random, TOWNS)]
    if chance(random, 0.6):
        address.append(f"Tel 0555 {whole(random, 100, 999)} {whole(random, 100, 999)}")
    date = day(random)
    return Purchase(
        company=company(random),
        address=address,
        facts=facts(date, random),
        goods=goods,
        sums=lines,
        total_label=label,
        farewell=pick(random, FAREWELLS),
        currency=pick(random, CURRENCIES),
        date=date,
    )


def style(random: Random, clean: bool) -> Style:
    plain, bold = pick(random, fonts.COMMON if clean or chance(random, 0.6) else fonts.UNUSUAL)
    size = whole(random, 17, 22) if clean else whole(random, 13, 22)
    shade, paper = whole(random, 10, 60), whole(random, 225, 252)
    return Style(
        plain=ImageFont.truetype(str(plain), size),
        bold=ImageFont.truetype(str(bold), size + whole(random, 0, 3)),
        title=ImageFont.truetype(str(bold), size + whole(random, 1, 6)),
        width=size * whole(random, 24, 30),
        leading=whole(random, 5, 11),
        centred=chance(random, 0.7),
        bold_total=chance(random, 0.6),
        rule=pick(random, ["-", "=", "*", "line", "none"]),
        ink=(shade, shade, shade + 6),
        paper=(paper, paper - whole(random, 0, 4), paper - whole(random, 0, 12)),
    )


class Page:
    """A strip of paper that is filled from the top."""

    def __init__(self, look: Style) -> None:
        self.look = look
        self.margin = look.width // 14
        self.image = Image.new("RGB", (look.width, 2 * MOST_PIXELS), look.paper)
        self.draw = ImageDraw.Draw(self.image)
        self.y = self.margin

    def feed(self, font: ImageFont.FreeTypeFont) -> None:
        self.y += round(font.size * 1.15) + self.look.leading

    def fits(self, text: str, font: ImageFont.FreeTypeFont) -> bool:
        return font.getlength(text) <= self.look.width - 2 * self.margin

    def heading(self, text: str, font: ImageFont.FreeTypeFont) -> None:
        """A line in the middle or at the left; words that do not fit go on the next one."""
        line = ""
        for word in text.split():
            if line and not self.fits(f"{line} {word}", font):
                self.put(line, font)
                line = word
            else:
                line = f"{line} {word}".strip()
        self.put(line, font)

    def put(self, text: str, font: ImageFont.FreeTypeFont) -> None:
        x, anchor = (self.look.width / 2, "ma") if self.look.centred else (self.margin, "la")
        self.draw.text((x, self.y), text, font=font, fill=self.look.ink, anchor=anchor)
        self.feed(font)

    def row(self, name: str, amount: str, font: ImageFont.FreeTypeFont) -> None:
        self.draw.text((self.margin, self.y), name, font=font, fill=self.look.ink)
        right = self.look.width - self.margin
        self.draw.text((right, self.y), amount, font=font, fill=self.look.ink, anchor="ra")
        self.feed(font)

    def rule(self) -> None:
        font, rule = self.look.plain, self.look.rule
        if rule == "line":
            y = self.y + font.size // 2
            ends = (self.margin, y, self.look.width - self.margin, y)
            self.draw.line(ends, fill=self.look.ink, width=2)
        elif rule != "none":
            count = int((self.look.width - 2 * self.margin) / font.getlength(rule))
            self.draw.text((self.margin, self.y), rule * count, font=font, fill=self.look.ink)
        self.feed(font)

    def finished(self) -> Image.Image:
        return self.image.crop((0, 0, self.look.width, self.y + self.margin))


def drawn(bought: Purchase, look: Style) -> Image.Image:
    page = Page(look)
    page.heading(bought.company, look.title)
    for line in bought.address:
        page.heading(line, look.plain)
    page.rule()
    for line in bought.facts:
        page.row(line, "", look.plain)
    page.rule()
    for name, price in bought.goods:
        page.row(name, money(price), look.plain)
    page.rule()
    for name, amount in bought.sums:
        is_total = name == bought.total_label
        shown = f"{bought.currency} {money(amount)}".strip() if is_total else money(amount)
        page.row(name, shown, look.bold if is_total and look.bold_total else look.plain)
    page.rule()
    page.heading(bought.farewell, look.plain)
    return page.finished()


def limited(page: Image.Image) -> Image.Image:
    """No longer than [`MOST_PIXELS`]."""
    factor = MOST_PIXELS / max(page.size)
    if factor >= 1.0:
        return page
    size = (round(page.width * factor), round(page.height * factor))
    return page.resize(size, Image.Resampling.LANCZOS)


def receipt(output: Output, index: int) -> list[Task]:
    name = f"receipt-{index:03}"
    random = output.random(name)
    bought = purchase(random)
    clean = chance(random, CLEAN)
    severity = 0.0 if clean else float(random.uniform(0.25, 1.0))
    page = worn(limited(drawn(bought, style(random, clean))), severity, random)
    image, path = output.image(f"{name}.jpg")
    path.write_bytes(jpeg(limited(page), severity))
    questions = [
        ("total", TOTAL_WORDINGS, "number", money(bought.total)),
        ("date", DATE_WORDINGS, "date", bought.date.isoformat()),
        ("company", COMPANY_WORDINGS, "short_text", bought.company),
    ]
    split = split_of(index)
    return [
        Task(
            id=f"{name}-{what}",
            split=split,
            domain=DOMAIN,
            group=name,
            question=worded(random, wordings, split),
            images=[image],
            answer_kind={"kind": kind},
            truth=truth,
        )
        for what, wordings, kind, truth in questions
    ]


def generate(output: Output) -> list[Task]:
    return [task for index in range(output.count(COUNT)) for task in receipt(output, index)]
