"""What printing, handling and cheap cameras do to a page, from nothing to unreadable."""

import io

import numpy
from PIL import Image, ImageFilter

from .tasks import Random, chance, pick, whole

Pixels = numpy.ndarray

# The effects by how they are named below; a worn page suffers some of them.
EFFECTS = ("tilt", "blur", "fade", "noise", "shade", "crease", "streaks", "small", "warp")


def worn(page: Image.Image, severity: float, random: Random) -> Image.Image:
    """A page after what happened to it; `severity` from 0 (a flat, clean scan) to 1."""
    count = min(len(EFFECTS), 1 + round(3 * severity)) if severity > 0.05 else 0
    chosen = random.permutation(len(EFFECTS))[:count]
    # In the order in which things happen: print, paper, optics, sensor.
    effects = {EFFECTS[index]: severity * float(random.uniform(0.6, 1.0)) for index in chosen}
    paper = page.getpixel((2, 2))
    if "streaks" in effects:
        page = streaked(page, effects["streaks"], random)
    if "fade" in effects:
        page = faded(page, effects["fade"])
    if "warp" in effects:
        page = warped(page, effects["warp"], random)
    if "crease" in effects:
        page = creased(page, effects["crease"], random)
    if "shade" in effects:
        page = shaded(page, effects["shade"], random)
    if "tilt" in effects:
        page = tilted(page, effects["tilt"], paper, random)
    if "small" in effects:
        page = smaller(page, effects["small"])
    if "blur" in effects:
        page = page.filter(ImageFilter.GaussianBlur(0.4 + 1.1 * effects["blur"]))
    noise = 2.0 + 30.0 * effects.get("noise", 0.0)
    return grainy(page, noise, random)


def as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))


def tilted(page: Image.Image, strength: float, paper: tuple, random: Random) -> Image.Image:
    """Turned by up to 9 degrees."""
    angle = (0.5 + 8.5 * strength) * pick(random, (-1, 1))
    return page.rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor=paper, expand=True)


def faded(page: Image.Image, strength: float) -> Image.Image:
    """Ink that has lost most of its darkness."""
    pixels = numpy.asarray(page, dtype=numpy.float32)
    paper = numpy.quantile(pixels, 0.9, axis=(0, 1))
    return as_image(paper + (pixels - paper) * (1.0 - 0.8 * strength))


def grainy(page: Image.Image, deviation: float, random: Random) -> Image.Image:
    pixels = numpy.asarray(page, dtype=numpy.float32)
    return as_image(pixels + random.normal(0.0, deviation, pixels.shape[:2])[:, :, None])


def shaded(page: Image.Image, strength: float, random: Random) -> Image.Image:
    """A shadow over a side or a corner of the page."""
    pixels = numpy.asarray(page, dtype=numpy.float32)
    height, width = pixels.shape[:2]
    turn = float(random.uniform(0.0, 2.0 * numpy.pi))
    x = numpy.linspace(-1.0, 1.0, width)[None, :]
    y = numpy.linspace(-1.0, 1.0, height)[:, None]
    along = numpy.cos(turn) * x + numpy.sin(turn) * y - float(random.uniform(-0.5, 0.5))
    dark = 1.0 / (1.0 + numpy.exp(-along * float(random.uniform(2.0, 12.0))))
    return as_image(pixels * (1.0 - 0.75 * strength * dark)[:, :, None])


def creased(page: Image.Image, strength: float, random: Random) -> Image.Image:
    """Folds: bands of light and dark across the page, the text beyond them shifted a little."""
    pixels = numpy.asarray(page, dtype=numpy.float32).copy()
    height, width = pixels.shape[:2]
    rows = numpy.arange(height)[:, None]
    columns = numpy.arange(width)[None, :]
    for _ in range(1 + round(4 * strength)):
        slope = float(random.uniform(-0.3, 0.3))
        fold = rows - height * float(random.uniform(0.1, 0.9)) - slope * (columns - width / 2)
        band = numpy.exp(-((fold / float(random.uniform(4.0, 14.0))) ** 2))
        sign = numpy.where(fold > 0, -1.0, 0.6)
        pixels += (90.0 * strength * band * sign)[:, :, None]
        below = round(height * float(random.uniform(0.2, 0.8)))
        shift = whole(random, -1, 1) * round(1 + 3 * strength)
        pixels[below:] = numpy.roll(pixels[below:], shift, axis=1)
    return as_image(pixels)


def streaked(page: Image.Image, strength: float, random: Random) -> Image.Image:
    """A thermal printer with worn dots: thin light lines along the feed or across it."""
    pixels = numpy.asarray(page, dtype=numpy.float32).copy()
    axis = 0 if chance(random, 0.5) else 1
    length = pixels.shape[axis]
    paper = numpy.quantile(pixels, 0.9, axis=(0, 1))
    for _ in range(round(length * 0.12 * strength)):
        place = whole(random, 0, length - 1)
        line = (slice(None), place) if axis else (place,)
        pixels[line] += (paper - pixels[line]) * float(random.uniform(0.5, 1.0))
    return as_image(pixels)


def warped(page: Image.Image, strength: float, random: Random) -> Image.Image:
    """A page that does not lie flat: its lines wave."""
    pixels = numpy.asarray(page)
    height, width = pixels.shape[:2]
    swing = 14.0 * strength
    phase = float(random.uniform(0.0, 2.0 * numpy.pi))
    bend = numpy.sin(numpy.arange(width) * float(random.uniform(3.0, 9.0)) / width + phase)
    rows = numpy.arange(height)[:, None] + numpy.round(swing * bend)[None, :].astype(int)
    columns = numpy.broadcast_to(numpy.arange(width)[None, :], rows.shape)
    return Image.fromarray(pixels[rows.clip(0, height - 1), columns])


def smaller(page: Image.Image, strength: float) -> Image.Image:
    """Photographed from further away."""
    factor = 1.0 - 0.45 * strength
    size = (max(1, round(page.width * factor)), max(1, round(page.height * factor)))
    return page.resize(size, Image.Resampling.BILINEAR)


def jpeg(page: Image.Image, severity: float) -> bytes:
    """The file; its compression goes with how careless the rest was."""
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=round(85 - 50 * severity), optimize=True)
    return buffer.getvalue()
