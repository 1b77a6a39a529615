"""Draws the pictures of this folder and records how RapidOCR reads them.

    pip install rapidocr==3.10.0 onnxruntime pillow
    python make_reference.py

RapidOCR runs the same two networks through ONNX Runtime with PP-OCR's own pre- and
post-processing; the tests compare our readings with its texts, confidences and boxes.
"""

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rapidocr import RapidOCR

HERE = Path(__file__).parent
INK, PAPER = 30, 245


def text(draw, x, y, words, size):
    draw.text((x, y), words, fill=INK, font=ImageFont.load_default(size))


def lines():
    picture = Image.new("L", (560, 220), PAPER)
    draw = ImageDraw.Draw(picture)
    text(draw, 20, 20, "The quick brown fox", 40)
    text(draw, 20, 90, "jumps over 13 lazy dogs, twice a day.", 26)
    text(draw, 20, 150, "Order No: A-2041 / 7 (paid)", 20)
    return picture


def receipt():
    picture = Image.new("L", (460, 700), PAPER)
    draw = ImageDraw.Draw(picture)
    text(draw, 90, 24, "HARBOUR BOOKSHOP", 28)
    text(draw, 120, 66, "14 Quay Street, Millport", 18)
    text(draw, 150, 94, "Tel: 555-0142", 18)
    text(draw, 30, 146, "Date: 03/11/2024", 20)
    text(draw, 310, 146, "Time: 16:45", 20)
    rows = [
        ("2", "Field Notebook A5", "7.80"),
        ("1", "Atlas of Northern Birds", "34.50"),
        ("6", "Pencil HB", "4.20"),
        ("3", "Gift wrap, blue", "2.25"),
    ]
    for i, (count, item, price) in enumerate(rows):
        y = 210 + 42 * i
        text(draw, 30, y, count, 22)
        text(draw, 70, y, item, 22)
        text(draw, 370, y, price, 22)
    text(draw, 30, 420, "Subtotal", 22)
    text(draw, 360, 420, "48.75", 22)
    text(draw, 30, 460, "Tax 6%", 22)
    text(draw, 370, 460, "2.93", 22)
    text(draw, 30, 510, "TOTAL", 32)
    text(draw, 340, 510, "51.68", 32)
    text(draw, 110, 600, "Thank you, come again!", 20)
    return picture


def skewed():
    return receipt().rotate(3.5, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=PAPER)


def main():
    reader = RapidOCR(params={"Global.use_cls": False, "Global.log_level": "error"})
    for draw in (lines, receipt, skewed):
        file = HERE / f"{draw.__name__}.png"
        draw().save(file, optimize=True)
        found = reader(str(file))
        lines_read = [
            {"text": words, "confidence": round(float(score), 4), "quad": box.tolist()}
            for words, score, box in zip(found.txts, found.scores, found.boxes)
        ]
        file.with_suffix(".json").write_text(json.dumps(lines_read, indent=1) + "\n")


if __name__ == "__main__":
    main()
