"""Questions of general knowledge and common sense with options, all written for this project.

The right option stands first here; the order that is asked in is drawn.
"""

from .tasks import Output, Task, split_of

DOMAIN = "choices"

# question | right option | other options
QUESTIONS = """
Where would you most likely keep milk so that it lasts?|refrigerator|oven|drawer|roof
You spilled water on the floor. What do you fetch?|mop|hammer|candle|ladder|pillow
Which of these gives light at night?|lamp|spoon|carpet|towel
What melts when left in warm hands?|ice|stone|coin|glass
A person who flies aeroplanes is called what?|pilot|plumber|tailor|baker
Which animal lays eggs?|hen|cow|dog|horse|goat
What falls from clouds?|rain|sand|leaves|salt
Which tool drives a nail into wood?|hammer|brush|scissors|needle
What do bees make?|honey|milk|silk|wool
Which season is the coldest in most of Europe?|winter|summer|spring|autumn
What do you wear on your feet?|shoes|gloves|hat|scarf
Which planet do people live on?|Earth|Mars|Venus|Saturn|Neptune
What would you use to cut paper?|scissors|spoon|comb|sponge
Where do fish live?|water|trees|attics|deserts
Which of these is a fruit?|pear|carrot|onion|potato
What do you need to unlock a door?|key|fork|kettle|stamp
Who treats sick animals?|veterinarian|carpenter|librarian|cashier
Which is the largest of these?|whale|cat|mouse|sparrow
What happens to water at one hundred degrees Celsius?|it boils|it freezes|it rusts|it glows
Which one is used to measure temperature?|thermometer|ruler|scales|compass
In which room is food usually cooked?|kitchen|bedroom|garage|cellar
Which metal is attracted by a magnet?|iron|gold|copper|aluminium
What do plants need to grow besides water?|light|noise|smoke|music
Which ocean lies between Europe and America?|Atlantic|Pacific|Indian|Arctic
What is the capital of France?|Paris|Lyon|Rome|Berlin|Madrid
Which gas do people need to breathe?|oxygen|helium|neon|methane
How many days has a leap year?|366|365|364|360
Which instrument has black and white keys?|piano|drum|flute|trumpet
What does a caterpillar turn into?|butterfly|spider|worm|snail
Which of these burns easily?|dry straw|wet clay|steel|brick
Your friend is crying. What is kindest?|comfort them|laugh at them|walk away|switch off the light
What would you take along on a rainy day?|umbrella|sunglasses|fan|sledge
Which shape has three sides?|triangle|square|circle|pentagon
What do you call frozen water?|ice|steam|fog|dew
Which bird cannot fly?|penguin|swallow|eagle|pigeon
Where does the sun rise?|in the east|in the west|in the north|in the south
What is bread mostly made from?|flour|rice paper|meat|sugar
A clock shows noon. What meal is near?|lunch|breakfast|midnight snack|bedtime tea
Which vehicle runs on rails?|tram|lorry|bicycle|canoe
What do you do with a broom?|sweep|write|cook|sing
Which organ pumps blood?|heart|liver|lung|stomach
What is a baby sheep called?|lamb|calf|foal|kitten|cub
Which of these is heaviest?|a car|a chair|a feather|a book
What would a thirsty person like?|a glass of water|a bag of salt|a wool sock|a pencil
Which month comes after April?|May|March|June|August
Where would you borrow a novel?|library|bakery|garage|stadium
What keeps a tent from blowing away?|pegs|plates|posters|pillows
Which of these is a mammal?|bat|trout|lizard|frog
What does a red traffic light tell a driver?|stop|go faster|turn round|sound the horn
What can be used to see small things larger?|magnifying glass|mirror|window|curtain
Which liquid is needed to make tea?|water|oil|paint|vinegar
Who puts out fires?|firefighters|postmen|painters|gardeners
What do spiders spin?|webs|nests of mud|burrows|honeycombs
Which one is a musical note's neighbour in the alphabet after C?|D|X|Q|M
If today is Monday, which day is tomorrow?|Tuesday|Sunday|Friday|Wednesday
What is the opposite of heavy?|light|large|strong|dark
Which of these would sink in a pond?|a stone|a cork|a leaf|a feather
What is the usual use of a wallet?|holding money|cooking soup|digging holes|drying hair
Why do people wear coats in January in Norway?|to stay warm|to swim better|to see further
What is left of a candle that burned all night?|a stub of wax|a bigger candle|a glass of juice
Which of these must be plugged in to work?|a toaster|a hairbrush|a candle|a spade
What would make a bicycle hard to ride?|a flat tyre|a bell|a new lamp|a clean frame
Which is the longest time?|a decade|a minute|a week|an hour
What do teachers mostly do?|explain things to pupils|repair roofs|milk cows|sail ships
"""

ENDINGS = ["", "", " Choose one.", " Pick the best option.", " Which option fits?"]


def choice(output: Output, index: int, line: str) -> Task:
    question, right, *others = line.split("|")
    name = f"choice-{index:03}"
    random = output.random(name)
    options = [right, *others]
    options = [options[place] for place in random.permutation(len(options))]
    ending = ENDINGS[int(random.integers(len(ENDINGS)))]
    return Task(
        id=name,
        split=split_of(index),
        domain=DOMAIN,
        question=question + ending,
        answer_kind={"kind": "choice", "options": options},
        truth=chr(ord("A") + options.index(right)),
    )


def generate(output: Output) -> list[Task]:
    """At most one task a question: a larger size makes no more of them."""
    lines = QUESTIONS.strip().splitlines()
    count = min(len(lines), output.count(len(lines)))
    return [choice(output, index, line) for index, line in enumerate(lines[:count])]
