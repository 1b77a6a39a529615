"""Signs, labels and door plates with a few words, from new to weathered."""

import numpy
from PIL import Image, ImageDraw, ImageFont

from . import fonts
from .tasks import Output, Random, Task, chance, pick, split_of, whole, worded
from .wear import jpeg, worn

DOMAIN = "signs"
COUNT = 60
CLEAN = 0.3

WORDINGS = [
    "What does the sign say?",
    "Read the words on this label.",
    "Which words are written here?",
    "What text is on the plate?",
    "Tell me what stands on this board.",
    "Copy the lettering of the sign.",
    "What can be read on it?",
    "The words on the notice, please.",
    "Please read this sign out for me.",
    "What is printed on this tag?",
    "Which inscription is shown?",
    "Give the wording of this notice.",
]
TEXTS = (
    "NO ENTRY;Fresh Eggs;Please Ring Twice;Wet Paint;Room 214;Mind the Gap;Lost Property;"
    " Platform 9;Staff Only;Ticket Office;Open until 8;Beware of the Goat;Honey for Sale;"
    "Bicycle Repair;Quiet Please;Pull to Open;Push;Fragile;This Side Up;"
    "Keep Refrigerated;Blackberry Jam;Do Not Bend;Exit;Car Park Full;Slow Down;"
    "School Crossing;North Pier;Boat Hire;Harbour View;Library Closed;Waiting Room;"
    "First Floor;Reception;Meeting Room B;Cloakroom;No Smoking;Trespassers Welcome;"
    "Garden Open Today;Hot Soup;Best Before June;Cherry Lane;Mill Street;Old Bakery;"
    "The Green Lantern;Sunday Market;Piano Lessons;Free Kittens;Ice Cold Lemonade;"
    "Danger Deep Water;Private Road;Dogs on Leads;Turn Left;Ferry Terminal;Gate 17;"
    "Baggage Claim;Last Order 9 pm;Handle with Care;Two for One;Second Hand Books;"
    "Watch Your Step;Fire Door;Assembly Point;Deliveries at Rear;Poison Ivy;Apple Orchard;"
    " Wild Garlic;Toll Bridge;Low Ceiling"
).split(";")
# Ink and board.
COLOURS = [
    ("#ffffff", "#14532d"),
    ("#ffffff", "#1e3a8a"),
    ("#ffffff", "#b91c1c"),
    ("#111111", "#facc15"),
    ("#111111", "#f5f5f4"),
    ("#3b2412", "#e7c99a"),
    ("#1f2937", "#cbd5e1"),
    ("#fef3c7", "#78350f"),
]


def lines_of(text: str, random: Random) -> list[str]:
    """On one line, or broken at a blank."""
    words = text.split()
    if len(words) < 2 or chance(random, 0.5):
        return [text]
    middle = (len(words) + 1) // 2
    return [" ".join(words[:middle]), " ".join(words[middle:])]


def wall(width: int, height: int, random: Random) -> Image.Image:
    """What the sign hangs on: a plain, slightly uneven surface."""
    base = numpy.array([whole(random, 90, 220) for _ in range(3)], dtype=numpy.float32)
    coarse = random.normal(0.0, 10.0, (height // 24 + 2, width // 24 + 2)).clip(-30, 30)
    relief = Image.fromarray((128 + coarse).astype(numpy.uint8))
    relief = relief.resize((width, height), Image.Resampling.BICUBIC)
    pixels = base + (numpy.asarray(relief, dtype=numpy.float32) - 128.0)[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))


def drawn(text: str, random: Random, clean: bool) -> Image.Image:
    plain, bold = pick(random, fonts.COMMON if clean else fonts.EVERY)
    size = whole(random, 26, 60) if clean else whole(random, 14, 60)
    font = ImageFont.truetype(str(bold if chance(random, 0.6) else plain), size)
    lines = lines_of(text, random)
    width = round(max(font.getlength(line) for line in lines) + 1.6 * size)
    height = round((1.35 * len(lines) + 0.9) * size)
    border = round(size * float(random.uniform(0.4, 1.2)))
    picture = wall(width + 2 * border, height + 2 * border, random)
    ink, board = pick(random, COLOURS)
    draw = ImageDraw.Draw(picture)
    box = (border, border, border + width, border + height)
    draw.rounded_rectangle(box, size / 3, fill=board)
    if chance(random, 0.4):
        inset = tuple(v + d * size // 6 for v, d in zip(box, (1, 1, -1, -1), strict=True))
        draw.rounded_rectangle(inset, size / 4, outline=ink, width=max(1, size // 14))
    for place, line in enumerate(lines):
        at = (picture.width / 2, border + (1.1 + 1.35 * place) * size)
        draw.text(at, line, font=font, fill=ink, anchor="mm")
    return picture


def sign(output: Output, index: int) -> Task:
    name = f"sign-{index:03}"
    random = output.random(name)
    text = TEXTS[index % len(TEXTS)]
    if chance(random, 0.3):
        text = text.upper()
    clean = chance(random, CLEAN)
    severity = 0.0 if clean else float(random.uniform(0.1, 1.0))
    picture = worn(drawn(text, random, clean), severity, random)
    image, path = output.image(f"{name}.jpg")
    path.write_bytes(jpeg(picture, severity))
    split = split_of(index)
    return Task(
        id=name,
        split=split,
        domain=DOMAIN,
        question=worded(random, WORDINGS, split),
        images=[image],
        answer_kind={"kind": "short_text"},
        truth=text,
    )


def generate(output: Output) -> list[Task]:
    return [sign(output, index) for index in range(output.count(COUNT))]
