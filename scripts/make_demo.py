#!/usr/bin/env python3
"""Draws the demonstration's images and writes its tasks, into demo/.

Needs Pillow, NumPy and the DejaVu fonts. Everything is invented here: shops, prices, diagrams and
problems. One seed, so that a second run writes the same pictures.
"""

import json
import math
from pathlib import Path

import numpy
from drawing.sheet import Sheet, crossings
from PIL import Image, ImageDraw, ImageFilter, ImageFont

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "demo"
FONTS = Path("/usr/share/fonts/truetype/dejavu")
SEED = 20261


# Receipts


def scanned(page: Image.Image, angle: float, random: numpy.random.Generator) -> Image.Image:
    """A page as a cheap scanner gives it: turned a little, soft, grey and grainy."""
    page = page.rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor=(246, 245, 240))
    page = page.filter(ImageFilter.GaussianBlur(0.5))
    pixels = numpy.asarray(page, dtype=numpy.float32)
    shade = numpy.linspace(1.0, 0.95, pixels.shape[1])[None, :, None]
    pixels = pixels * shade + random.normal(0.0, 4.0, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))


def receipt(
    header: list[str],
    facts: list[str],
    items: list[tuple[str, str]],
    sums: list[tuple[str, str]],
    footer: list[str],
) -> Image.Image:
    """Draws one receipt of 620 by 900 pixels; the row of the total is bold."""
    page = Image.new("RGB", (620, 900), (246, 245, 240))
    draw = ImageDraw.Draw(page)
    ink = (38, 38, 44)
    title = ImageFont.truetype(str(FONTS / "DejaVuSansMono-Bold.ttf"), 28)
    bold = ImageFont.truetype(str(FONTS / "DejaVuSansMono-Bold.ttf"), 22)
    plain = ImageFont.truetype(str(FONTS / "DejaVuSansMono.ttf"), 20)
    left, right, y = 48, 572, 40

    def centred(text: str, font: ImageFont.FreeTypeFont) -> None:
        nonlocal y
        draw.text(((left + right) / 2, y), text, font=font, fill=ink, anchor="ma")
        y += font.size + 9

    def row(name: str, amount: str, font: ImageFont.FreeTypeFont) -> None:
        nonlocal y
        draw.text((left, y), name, font=font, fill=ink)
        draw.text((right, y), amount, font=font, fill=ink, anchor="ra")
        y += font.size + 12

    def rule() -> None:
        nonlocal y
        y += 6
        for x in range(left, right, 12):
            draw.line((x, y, x + 6, y), fill=ink, width=2)
        y += 14

    centred(header[0], title)
    for line in header[1:]:
        centred(line, plain)
    rule()
    for line in facts:
        draw.text((left, y), line, font=plain, fill=ink)
        y += 30
    rule()
    for name, amount in items:
        row(name, amount, plain)
    rule()
    for name, amount in sums:
        row(name, amount, bold if name.startswith("TOTAL") else plain)
    rule()
    for line in footer:
        centred(line, plain)
    return page


def receipts(random: numpy.random.Generator) -> list[dict]:
    bakery = receipt(
        ["KORNBLUM BAKERY LTD", "4 Wharf Lane, Eastmere", "Tel 0555 014 220"],
        ["Bill 20817    Till 2", "Date: 09/03/2026  08:41", "Served by: Imke"],
        [
            ("2 x Rye loaf 750g", "9.80"),
            ("4 x Cardamom bun", "11.20"),
            ("1 x Oat milk 1L", "2.95"),
            ("1 x Plum jam", "4.40"),
        ],
        [
            ("Subtotal", "28.35"),
            ("Discount", "-1.50"),
            ("TOTAL", "26.85"),
            ("Cash", "30.00"),
            ("Change", "3.15"),
        ],
        ["Thank you, see you soon"],
    )
    hardware = receipt(
        ["OSTERVALL HARDWARE", "118 Quarry Road", "Port Lindow", "VAT No 77-201-3388"],
        ["Receipt no. 5519-A", "Date 21-11-2025   Time 17:06"],
        [
            ("Wood screws 4x40", "3.60"),
            ("Hinge brass x 6", "17.40"),
            ("Primer grey 2.5L", "24.90"),
            ("Brush set", "8.75"),
        ],
        [("Net", "45.54"), ("VAT 20%", "9.11"), ("TOTAL EUR", "54.65"), ("Card", "54.65")],
        ["Keep this slip for returns", "within 28 days"],
    )
    plants = receipt(
        ["MIRABELLE PLANT HOUSE", "Unit 7, Glasshouse Yard", "Tarnbridge TB2 6QD"],
        ["Invoice 0033291", "Date: 17 May 2026", "Customer: walk-in"],
        [
            ("Lavender 11cm  3 @ 4.25", "12.75"),
            ("Potting mix 40L", "13.90"),
            ("Clay saucer", "2.10"),
        ],
        [("TOTAL", "28.75"), ("Paid by card", "28.75")],
        ["Water well after planting"],
    )
    pages = [
        (
            "bakery",
            bakery,
            0.8,
            "How much did the customer have to pay in the end?",
            "number",
            "26.85",
        ),
        ("hardware", hardware, -0.7, "On which day was this receipt issued?", "date", "2025-11-21"),
        (
            "plants",
            plants,
            0.5,
            "Which company issued this receipt?",
            "short-text",
            "Mirabelle Plant House",
        ),
    ]
    tasks = []
    for name, page, angle, question, answer_kind, answer in pages:
        path = f"images/receipt-{name}.jpg"
        scanned(page, angle, random).save(FOLDER / path, quality=72, optimize=True)
        tasks.append(task(f"receipt-{name}", "receipt", question, [path], answer_kind, answer))
    return tasks


# Diagrams


def diagrams() -> list[dict]:
    tasks = []

    def add(name: str, sheet: Sheet, question: str, answer_kind: str, answer: str) -> None:
        path = f"images/diagram-{name}.png"
        sheet.save(FOLDER / path)
        tasks.append(task(f"diagram-{name}", "diagram", question, [path], answer_kind, answer))

    sheet = Sheet(560, 420)
    green = [(30, 330), (200, 70), (370, 350), (530, 110)]
    orange = [(30, 120), (190, 300), (360, 150), (530, 320)]
    sheet.line(green, "#1b8a3c", 6)
    sheet.line(orange, "#f28c13", 6)
    add(
        "crossings",
        sheet,
        "At how many points does the green line cross the orange line?",
        "integer",
        str(crossings(green, orange)),
    )

    sheet = Sheet(520, 620)
    rows, columns, step = 7, 5, 80
    for row in range(rows + 1):
        sheet.line([(58, 30 + row * step), (62 + columns * step, 30 + row * step)], "#2b3a55", 4)
    for column in range(columns + 1):
        x = 60 + column * step
        sheet.line([(x, 30), (x, 30 + rows * step)], "#2b3a55", 4)
    add(
        "grid",
        sheet,
        "What is the size of this grid? Give its rows first, then its columns.",
        "short-text",
        f"{rows},{columns}",
    )

    sheet = Sheet(600, 600)
    squares = [
        (60, 70, 470),
        (95, 110, 370),
        (130, 135, 285),
        (170, 165, 200),
        (200, 190, 130),
        (225, 225, 62),
    ]
    for x, y, side in squares:
        sheet.square(x, y, side, "#5a2d82", 4)
    add(
        "squares",
        sheet,
        "These squares lie inside one another. Count them.",
        "integer",
        str(len(squares)),
    )

    sheet = Sheet(500, 400)
    teal, ochre = (185, 180, 82), (318, 228, 74)
    sheet.circle(*teal, fill="#0f8b8d")
    sheet.circle(*ochre, fill="#d9a404")
    distance = math.dist(teal[:2], ochre[:2])
    add(
        "circles-touching",
        sheet,
        "Do the two discs in this drawing touch?",
        "yes-no",
        "Yes" if distance <= teal[2] + ochre[2] else "No",
    )

    sheet = Sheet(640, 420)
    rings = [
        (110, 120, 62),
        (300, 105, 48),
        (505, 125, 72),
        (205, 265, 70),
        (400, 280, 58),
        (555, 315, 50),
        (85, 320, 45),
    ]
    for x, y, radius in rings:
        sheet.circle(x, y, radius, outline="#a1233b", width=4)
    add("circles-count", sheet, "Count the circles drawn here.", "integer", str(len(rings)))
    return tasks


# Word problems

PROBLEMS = [
    ("A beekeeper fills 14 jars from each of 6 hives. How many jars of honey does she fill?", "84"),
    ("Tobias had 53 stickers and gave 19 of them to his sister. How many does he keep?", "34"),
    ("A tram carries 37 passengers. At the market 12 leave and 8 get on. How many ride on?", "33"),
    ("A ribbon of 96 cm is cut into 8 equal pieces. How long is each piece in cm?", "12"),
    ("Nadia runs 4 km each weekday and 11 km on Saturday. How many km is that in one week?", "31"),
    ("A box of 12 tiles covers one shelf. How many tiles does a shop need for 15 shelves?", "180"),
    (
        "Entry costs 7 euros for adults and 4 for children. What do 2 adults and 3 children pay?",
        "26",
    ),
    (
        "An orchard picked 145 kg of pears on Monday and 78 kg on Tuesday. What was picked in all?",
        "223",
    ),
    ("Sixty chairs stand in 5 equal rows. Two rows are taken away. How many chairs remain?", "36"),
    ("A tank holds 250 litres. After 18 buckets of 10 litres are drawn, how much is left?", "70"),
]


def word_problems() -> list[dict]:
    return [
        task(f"problem-{number:02}", "word problem", question, [], "number", answer)
        for number, (question, answer) in enumerate(PROBLEMS, 1)
    ]


def task(
    name: str, kind: str, question: str, images: list[str], answer_kind: str, answer: str
) -> dict:
    return {
        "id": name,
        "kind": kind,
        "question": question,
        "images": images,
        "answer_kind": answer_kind,
        "answer": answer,
    }


def main() -> None:
    (FOLDER / "images").mkdir(parents=True, exist_ok=True)
    tasks = receipts(numpy.random.default_rng(SEED)) + diagrams() + word_problems()
    with open(FOLDER / "tasks.jsonl", "w", encoding="utf-8") as lines:
        for entry in tasks:
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
    size = sum(path.stat().st_size for path in (FOLDER / "images").iterdir())
    print(f"{len(tasks)} tasks, {size / 1024:.0f} KiB of images in {FOLDER}")


if __name__ == "__main__":
    main()
