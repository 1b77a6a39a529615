"""Plain questions and requests, for which no workflow is needed: an expert just answers.

Their answers are known, so that asking directly can be right or wrong as anything else: capitals,
opposites, numbers that everybody knows, and texts that are to be written down as they are. Words
are asked as free text, where a reply that is a plain sentence is right too.
"""

from .tasks import Output, Random, Task, chance, pick, split_of, whole, worded

DOMAIN = "plain-questions"
COPIES = 144

# country | capital
CAPITALS = """
Norway|Oslo
Sweden|Stockholm
Finland|Helsinki
Denmark|Copenhagen
Iceland|Reykjavik
Ireland|Dublin
Germany|Berlin
Austria|Vienna
Hungary|Budapest
Poland|Warsaw
Greece|Athens
Portugal|Lisbon
Spain|Madrid
Italy|Rome
Romania|Bucharest
Bulgaria|Sofia
Belgium|Brussels
Ukraine|Kyiv|Kiev
Turkey|Ankara
Egypt|Cairo
Kenya|Nairobi
Ghana|Accra
Ethiopia|Addis Ababa
Morocco|Rabat
Tunisia|Tunis
Cuba|Havana
Peru|Lima
Chile|Santiago
Argentina|Buenos Aires
Colombia|Bogota|Bogotá
Ecuador|Quito
Canada|Ottawa
Mexico|Mexico City
Japan|Tokyo
China|Beijing
India|New Delhi
Nepal|Kathmandu
Thailand|Bangkok
Vietnam|Hanoi
Indonesia|Jakarta
Mongolia|Ulaanbaatar|Ulan Bator
Iraq|Baghdad
Iran|Tehran
Jordan|Amman
Australia|Canberra
"""

# word | opposite | others that are right
OPPOSITES = """
hot|cold
big|small|little
up|down
wet|dry
day|night
happy|sad|unhappy
fast|slow
open|closed|shut|close
rich|poor
loud|quiet|soft
early|late
full|empty
young|old
left|right
strong|weak
hard|soft|easy
light|dark|heavy
north|south
summer|winter
begin|end|finish
true|false|untrue
near|far
high|low
inside|outside
love|hate|hatred
war|peace
win|lose
push|pull
thick|thin
sweet|sour|bitter
clean|dirty
long|short
good|bad|evil
buy|sell
laugh|cry
front|back|rear
brave|cowardly|timid|fearful|afraid
first|last
always|never
remember|forget
"""

# question | number
NUMBERS = """
How many days has a week?|7
How many seconds make a minute?|60
How many minutes make an hour?|60
How many hours has a day?|24
How many months has a year?|12
How many years is a century?|100
How many years is a decade?|10
How many years make a millennium?|1000
How many centimetres make a metre?|100
How many metres make a kilometre?|1000
How many grams make a kilogram?|1000
How many things are a dozen?|12
How many legs has a spider?|8
How many legs has an ant?|6
How many legs has a dog?|4
How many legs has a hen?|2
How many arms has an octopus?|8
How many sides has a triangle?|3
How many sides has a square?|4
How many sides has a hexagon?|6
How many sides has an octagon?|8
How many degrees has a right angle?|90
How many degrees has a full circle?|360
How many wheels has a car?|4
How many wheels has a tricycle?|3
How many strings has a violin?|4
How many letters has the English alphabet?|26
How many continents does the Earth have?|7
How many planets go round the sun?|8
How many moons does the Earth have?|1
How many fingers has a hand?|5
How many teeth has a grown person?|32
How many cents make a dollar?|100
How many players has a chess game?|2
How many squares has a chess board?|64
How many players of a football team are on the field?|11
How many days has the month of June?|30
How many days has the month of December?|31
How many days has a leap year?|366
How many zeros has a million?|6
At how many degrees Celsius does water boil?|100
At how many degrees Celsius does water freeze?|0
In which year did the Second World War end?|1945
In which year did the First World War begin?|1914
In which year did people first walk on the moon?|1969
In which year did the Titanic sink?|1912
In which year did the Berlin Wall fall?|1989
In which year did Columbus first reach America?|1492
In which year did the French Revolution begin?|1789
In which year did America declare its independence?|1776
"""

CAPITAL_WORDINGS = [
    "What is the capital of {}?",
    "Name the capital of {}.",
    "Tell me the capital of {}.",
    "Which city is the capital of {}?",
    "What is {}'s capital?",
]
OPPOSITE_WORDINGS = [
    "What is the opposite of {}?",
    "Name the opposite of {}.",
    "Give me the opposite of the word {}.",
    "Which word is the opposite of {}?",
]
COPY_WORDINGS = [
    "Copy this text exactly and add nothing: {}",
    "Repeat this sentence: {}",
    "Write a letter that says only this: {}",
    "Say this to me word for word: {}",
    "Here is a line of a poem, write it once more: {}",
    "Write this line of a story again, as it is: {}",
    "Write down what I say and nothing else. {}",
    "Please reply with this message alone: {}",
    "Correct the spelling, or repeat the sentence if it has no mistakes: {}",
    "Write an email of one sentence, which is: {}",
    "Tell me this joke again, in the same words: {}",
    "Quote the explanation without a change: {}",
    "Summarise in one sentence, if it is longer than one: {}",
    "Translate into English, or leave it if it is English already: {}",
    "Give me back this piece of advice as I gave it: {}",
    "Write a poem whose only line is: {}",
    "Describe the scene with these words and no others: {}",
    "Write a story that consists of this sentence: {}",
    "Improve the style only where it is bad, else repeat: {}",
    "Recite the definition that follows: {}",
    "Greet the reader, and the greeting is: {}",
    "Answer me with this sentence of history: {}",
    "Here is an idea for a film. Repeat it: {}",
    "Read this news aloud: {}",
]
NUMBER_ENDINGS = ["", "", "", " A number, please."]

WHO = (
    "The ferry|My aunt|An old owl|The postman|Our neighbour|A grey cat|The lighthouse keeper|"
    "Her youngest brother|The choir|A travelling painter|The baker|Nobody"
).split("|")
DOES = (
    "waits|sings|sleeps|dances|works|reads a novel|drinks tea|paints the fence|tells stories|"
    "looks for mushrooms|watches the clouds|plays the violin"
).split("|")
WHERE = (
    "behind the mill|at the harbour|under the lime trees|in the attic|by the river|"
    "on the quiet square|near the old bridge|in the garden|before dawn|every Sunday|in the rain|"
    "until the bells ring"
).split("|")
WITH_NUMBER = (
    " at gate {0}| for {0} days| with {0} friends| since page {0}| in house number {0}|"
    " and counts to {0}| for the {0} guests| while {0} boats come in"
).split("|")


def rows(table: str) -> list[list[str]]:
    return [line.split("|") for line in table.strip().splitlines()]


def task(
    name: str, split: str, question: str, truth: str, kind: str = "free_text", aliases: tuple = ()
) -> Task:
    return Task(
        id=name,
        split=split,
        domain=DOMAIN,
        question=question,
        answer_kind={"kind": kind},
        truth=truth,
        aliases=list(aliases),
    )


def capital(output: Output, index: int, row: list[str]) -> Task:
    country, *names = row
    name = f"capital-{index:02}"
    split = split_of(index)
    sentences = [
        sentence.format(country=country, city=city)
        for city in names
        for sentence in ("The capital of {country} is {city}", "{city} is the capital of {country}")
    ]
    question = worded(output.random(name), CAPITAL_WORDINGS, split).format(country)
    return task(name, split, question, names[0], aliases=(*names[1:], *sentences))


def opposite(output: Output, index: int, row: list[str]) -> Task:
    word, *others = row
    name = f"opposite-{index:02}"
    split = split_of(index)
    sentences = [f"The opposite of {word} is {other}" for other in others]
    question = worded(output.random(name), OPPOSITE_WORDINGS, split).format(word)
    return task(name, split, question, others[0], aliases=(*others[1:], *sentences))


def number(output: Output, index: int, row: list[str]) -> Task:
    question, truth = row
    name = f"number-{index:02}"
    random = output.random(name)
    return task(name, split_of(index), question + pick(random, NUMBER_ENDINGS), truth, "number")


def sentence(random: Random) -> str:
    """Every second one has a number in it: that alone makes no sum of a text."""
    text = f"{pick(random, WHO)} {pick(random, DOES)} {pick(random, WHERE)}"
    if chance(random, 0.5):
        text += pick(random, WITH_NUMBER).format(whole(random, 2, 90))
    return f"{text}."


def copy(output: Output, index: int) -> Task:
    name = f"copy-{index:02}"
    random = output.random(name)
    split = split_of(index)
    text = sentence(random)
    return task(name, split, worded(random, COPY_WORDINGS, split).format(text), text)


def generate(output: Output) -> list[Task]:
    """At most one task a fact: a larger size makes only more texts to write down."""
    tasks = []
    for make, table in ((capital, CAPITALS), (opposite, OPPOSITES), (number, NUMBERS)):
        facts = rows(table)
        count = min(len(facts), output.count(len(facts)))
        tasks += [make(output, index, row) for index, row in enumerate(facts[:count])]
    return tasks + [copy(output, index) for index in range(output.count(COPIES))]
