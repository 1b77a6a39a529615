"""The fonts that everything is written in: the DejaVu families.

Debian has them in fonts-dejavu-core and fonts-dejavu-extra.
"""

from pathlib import Path

FOLDER = Path("/usr/share/fonts/truetype/dejavu")


def font(name: str) -> Path:
    return FOLDER / f"DejaVu{name}.ttf"


# A plain face with its bold one.
MONO = (font("SansMono"), font("SansMono-Bold"))
SANS = (font("Sans"), font("Sans-Bold"))
CONDENSED = (font("SansCondensed"), font("SansCondensed-Bold"))
SERIF = (font("Serif"), font("Serif-Bold"))
SERIF_CONDENSED = (font("SerifCondensed"), font("SerifCondensed-Bold"))
OBLIQUE = (font("SansMono-Oblique"), font("SansMono-BoldOblique"))
ITALIC = (font("Serif-Italic"), font("Serif-BoldItalic"))
LIGHT = (font("Sans-ExtraLight"), font("Sans"))

COMMON = [MONO, MONO, SANS, CONDENSED, SERIF]
UNUSUAL = [OBLIQUE, ITALIC, LIGHT, SERIF_CONDENSED]
EVERY = [MONO, SANS, CONDENSED, SERIF, SERIF_CONDENSED, OBLIQUE, ITALIC, LIGHT]
