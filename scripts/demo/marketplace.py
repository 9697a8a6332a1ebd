"""What the demo's car marketplace is made of: real places, real models with their list prices, usual words.

Prices are in pounds, launch and end are model years, popularity is a relative weight.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CarModel:
    make: str
    name: str
    body: str
    fuels: tuple[str, ...]
    list_price: int
    launch: int
    end: int
    popularity: int


MODELS = tuple(
    CarModel(make, name, body, tuple(fuels.split("/")), price, launch, end, popularity)
    for make, name, body, fuels, price, launch, end, popularity in [
        ("Ford", "Fiesta", "hatchback", "petrol/diesel/hybrid", 19060, 2008, 2023, 90),
        ("Ford", "Focus", "hatchback", "petrol/diesel/hybrid", 25040, 2004, 2025, 80),
        ("Ford", "Puma", "suv", "petrol/hybrid", 25640, 2019, 2025, 55),
        ("Ford", "Kuga", "suv", "petrol/diesel/plug-in hybrid", 32600, 2012, 2025, 45),
        ("Ford", "Mustang Mach-E", "suv", "electric", 43330, 2021, 2025, 9),
        ("Vauxhall", "Corsa", "hatchback", "petrol/diesel/electric", 18505, 2006, 2025, 85),
        ("Vauxhall", "Astra", "hatchback", "petrol/diesel/plug-in hybrid", 26210, 2004, 2025, 60),
        ("Vauxhall", "Mokka", "suv", "petrol/diesel/electric", 24455, 2012, 2025, 35),
        ("Vauxhall", "Insignia", "saloon", "petrol/diesel", 28110, 2009, 2022, 18),
        ("Volkswagen", "Polo", "hatchback", "petrol/diesel", 20995, 2005, 2025, 60),
        ("Volkswagen", "Golf", "hatchback", "petrol/diesel/plug-in hybrid", 27035, 2004, 2025, 85),
        ("Volkswagen", "Tiguan", "suv", "petrol/diesel/plug-in hybrid", 34075, 2008, 2025, 45),
        ("Volkswagen", "Passat", "estate", "petrol/diesel/plug-in hybrid", 38490, 2005, 2025, 20),
        ("Volkswagen", "ID.3", "hatchback", "electric", 30795, 2020, 2025, 18),
        ("BMW", "1 Series", "hatchback", "petrol/diesel", 31065, 2005, 2025, 40),
        ("BMW", "3 Series", "saloon", "petrol/diesel/plug-in hybrid", 40510, 2005, 2025, 50),
        ("BMW", "5 Series", "saloon", "petrol/diesel/plug-in hybrid", 51000, 2004, 2025, 24),
        ("BMW", "X1", "suv", "petrol/diesel/electric", 36225, 2010, 2025, 22),
        ("BMW", "i4", "saloon", "electric", 51370, 2021, 2025, 8),
        ("Audi", "A1", "hatchback", "petrol/diesel", 23280, 2010, 2025, 35),
        ("Audi", "A3", "hatchback", "petrol/diesel/plug-in hybrid", 28500, 2004, 2025, 48),
        ("Audi", "A4", "saloon", "petrol/diesel", 36650, 2005, 2024, 36),
        ("Audi", "Q3", "suv", "petrol/diesel", 34665, 2011, 2025, 26),
        ("Audi", "Q4 e-tron", "suv", "electric", 48565, 2021, 2025, 7),
        ("Mercedes-Benz", "A-Class", "hatchback", "petrol/diesel/plug-in hybrid", 31905, 2005, 2025, 44),
        ("Mercedes-Benz", "C-Class", "saloon", "petrol/diesel/plug-in hybrid", 44560, 2007, 2025, 36),
        ("Mercedes-Benz", "E-Class", "saloon", "petrol/diesel", 56220, 2009, 2025, 18),
        ("Mercedes-Benz", "GLC", "suv", "petrol/diesel/plug-in hybrid", 53285, 2016, 2025, 17),
        ("Toyota", "Aygo", "hatchback", "petrol", 13000, 2005, 2021, 35),
        ("Toyota", "Yaris", "hatchback", "petrol/hybrid", 22630, 2006, 2025, 50),
        ("Toyota", "Corolla", "hatchback", "petrol/hybrid", 30225, 2019, 2025, 32),
        ("Toyota", "RAV4", "suv", "petrol/diesel/hybrid/plug-in hybrid", 39645, 2006, 2025, 20),
        ("Nissan", "Micra", "hatchback", "petrol", 14980, 2003, 2023, 30),
        ("Nissan", "Juke", "suv", "petrol/hybrid", 23620, 2010, 2025, 42),
        ("Nissan", "Qashqai", "suv", "petrol/diesel/hybrid", 30135, 2007, 2025, 62),
        ("Nissan", "Leaf", "hatchback", "electric", 28495, 2011, 2024, 16),
        ("Kia", "Picanto", "hatchback", "petrol", 13665, 2011, 2025, 30),
        ("Kia", "Ceed", "hatchback", "petrol/diesel", 23400, 2007, 2025, 24),
        ("Kia", "Sportage", "suv", "petrol/diesel/hybrid/plug-in hybrid", 30245, 2010, 2025, 42),
        ("Kia", "EV6", "suv", "electric", 45585, 2021, 2025, 9),
        ("Hyundai", "i10", "hatchback", "petrol", 15995, 2008, 2025, 32),
        ("Hyundai", "i20", "hatchback", "petrol/hybrid", 20885, 2009, 2025, 24),
        ("Hyundai", "Tucson", "suv", "petrol/diesel/hybrid/plug-in hybrid", 32825, 2015, 2025, 36),
        ("Hyundai", "Kona", "suv", "petrol/hybrid/electric", 26040, 2017, 2025, 20),
        ("Peugeot", "208", "hatchback", "petrol/diesel/electric", 20400, 2012, 2025, 32),
        ("Peugeot", "308", "hatchback", "petrol/diesel/plug-in hybrid", 28850, 2008, 2025, 22),
        ("Peugeot", "3008", "suv", "petrol/diesel/plug-in hybrid", 34650, 2009, 2025, 26),
        ("Renault", "Clio", "hatchback", "petrol/diesel/hybrid", 18295, 2005, 2025, 34),
        ("Renault", "Captur", "suv", "petrol/diesel/hybrid", 21095, 2013, 2025, 24),
        ("Renault", "Zoe", "hatchback", "electric", 29995, 2013, 2024, 8),
        ("Citroën", "C3", "hatchback", "petrol/diesel", 15400, 2005, 2025, 22),
        ("Citroën", "C4 Cactus", "hatchback", "petrol/diesel", 18880, 2014, 2020, 8),
        ("Škoda", "Fabia", "hatchback", "petrol/diesel", 19730, 2007, 2025, 28),
        ("Škoda", "Octavia", "estate", "petrol/diesel/plug-in hybrid", 27225, 2005, 2025, 34),
        ("Škoda", "Kodiaq", "suv", "petrol/diesel", 36645, 2016, 2025, 14),
        ("SEAT", "Ibiza", "hatchback", "petrol/diesel", 19145, 2008, 2025, 28),
        ("SEAT", "Leon", "hatchback", "petrol/diesel/plug-in hybrid", 23915, 2005, 2025, 28),
        ("Honda", "Jazz", "hatchback", "petrol/hybrid", 26395, 2008, 2025, 26),
        ("Honda", "Civic", "hatchback", "petrol/diesel/hybrid", 34265, 2006, 2025, 24),
        ("Honda", "CR-V", "suv", "petrol/diesel/hybrid", 45895, 2007, 2025, 16),
        ("Mazda", "2", "hatchback", "petrol/diesel/hybrid", 18795, 2007, 2025, 14),
        ("Mazda", "CX-5", "suv", "petrol/diesel", 30945, 2012, 2025, 18),
        ("Mazda", "MX-5", "convertible", "petrol", 28015, 2005, 2025, 10),
        ("MINI", "Hatch", "hatchback", "petrol/diesel/electric", 23135, 2006, 2025, 48),
        ("MINI", "Countryman", "suv", "petrol/diesel/plug-in hybrid", 29335, 2010, 2025, 18),
        ("Land Rover", "Range Rover Evoque", "suv", "petrol/diesel/plug-in hybrid", 43450, 2011, 2025, 26),
        ("Land Rover", "Discovery Sport", "suv", "petrol/diesel/plug-in hybrid", 46305, 2014, 2025, 16),
        ("Jaguar", "XE", "saloon", "petrol/diesel", 36250, 2015, 2024, 10),
        ("Volvo", "V60", "estate", "petrol/diesel/plug-in hybrid", 43530, 2010, 2025, 10),
        ("Volvo", "XC40", "suv", "petrol/diesel/electric", 36030, 2017, 2025, 16),
        ("Tesla", "Model 3", "saloon", "electric", 39990, 2019, 2025, 18),
        ("Tesla", "Model Y", "suv", "electric", 44990, 2022, 2025, 14),
        ("Fiat", "500", "hatchback", "petrol/electric", 16800, 2008, 2025, 38),
        ("Dacia", "Sandero", "hatchback", "petrol", 13795, 2013, 2025, 22),
        ("Dacia", "Duster", "suv", "petrol/diesel/hybrid", 18850, 2013, 2025, 22),
        ("Suzuki", "Swift", "hatchback", "petrol/hybrid", 18699, 2005, 2025, 18),
        ("MG", "HS", "suv", "petrol/plug-in hybrid", 23495, 2019, 2025, 16),
        ("MG", "MG4", "hatchback", "electric", 26995, 2022, 2025, 12),
        ("Porsche", "Macan", "suv", "petrol/electric", 57900, 2014, 2025, 7),
    ]
)

# City, postcode area, the two letters that its registrations begin with, latitude, longitude, weight.
CITIES = (
    ("London", "SE", "L", 51.5072, -0.1276, 30),
    ("Birmingham", "B", "B", 52.4862, -1.8904, 16),
    ("Manchester", "M", "M", 53.4808, -2.2426, 15),
    ("Leeds", "LS", "Y", 53.8008, -1.5491, 11),
    ("Glasgow", "G", "S", 55.8642, -4.2518, 11),
    ("Liverpool", "L", "D", 53.4084, -2.9916, 9),
    ("Sheffield", "S", "Y", 53.3811, -1.4701, 9),
    ("Bristol", "BS", "W", 51.4545, -2.5879, 9),
    ("Edinburgh", "EH", "S", 55.9533, -3.1883, 8),
    ("Cardiff", "CF", "C", 51.4816, -3.1791, 7),
    ("Leicester", "LE", "F", 52.6369, -1.1398, 7),
    ("Nottingham", "NG", "F", 52.9548, -1.1581, 7),
    ("Newcastle upon Tyne", "NE", "N", 54.9783, -1.6178, 6),
    ("Southampton", "SO", "H", 50.9097, -1.4044, 6),
    ("Reading", "RG", "R", 51.4543, -0.9781, 6),
    ("Norwich", "NR", "A", 52.6309, 1.2974, 5),
    ("Plymouth", "PL", "W", 50.3755, -4.1427, 4),
    ("Cambridge", "CB", "A", 52.2053, 0.1218, 4),
    ("York", "YO", "Y", 53.9600, -1.0873, 4),
    ("Exeter", "EX", "W", 50.7184, -3.5339, 4),
    ("Aberdeen", "AB", "S", 57.1497, -2.0943, 4),
    ("Swansea", "SA", "C", 51.6214, -3.9436, 3),
    ("Oxford", "OX", "O", 51.7520, -1.2577, 4),
    ("Brighton", "BN", "G", 50.8225, -0.1372, 5),
)

STREETS = (
    "High Street", "Station Road", "London Road", "Victoria Road", "Church Lane", "Mill Lane", "Park Avenue",
    "Queens Road", "Kings Road", "The Crescent", "Albert Street", "Manor Way", "Grange Road", "Springfield Close",
    "Windsor Drive", "Highfield Road", "School Lane", "Chapel Street", "Meadow View", "Orchard Way",
)  # fmt: skip

TRADING_ESTATES = (
    "Riverside Retail Park", "Meadowhall Way", "Trafford Park Road", "Castle Business Park", "Ring Road West",
    "Southgate Trading Estate", "Dock Road", "Airport Way", "Kingsway Retail Park", "Old Brewery Yard",
)  # fmt: skip

DEALER_SURNAMES = (
    "Hartwell", "Pemberton", "Lockwood", "Ashworth", "Bristow", "Cavendish", "Drummond", "Ellison", "Fairclough",
    "Grantham", "Holloway", "Inchbald", "Jardine", "Kershaw", "Langley", "McAllister", "Northcott", "Ogilvie",
    "Pritchard", "Quayle", "Ravenscroft", "Sinclair", "Thornbury", "Underhill", "Vaughan", "Westbrook", "Yardley",
)  # fmt: skip

DEALER_KINDS = ("Motor Company", "Car Sales", "of {city}", "Cars", "Motors", "Car Centre", "Prestige", "Approved")

FIRST_NAMES = (
    "Olivia", "George", "Amelia", "Noah", "Isla", "Muhammad", "Ava", "Oliver", "Ivy", "Leo", "Freya", "Arthur",
    "Lily", "Oscar", "Florence", "Harry", "Mia", "Theo", "Willow", "Jack", "Rosie", "Charlie", "Sophia", "Henry",
    "Priya", "Arjun", "Aisha", "Omar", "Zoë", "Siân", "Rhys", "Niamh", "Callum", "Eilidh", "Angus", "Agnieszka",
    "Piotr", "Chloé", "Renée", "José", "Chidi", "Ngozi", "Kwame", "Mei", "Wei", "Yusuf", "Fatima", "Hannah",
    "David", "Susan", "Margaret", "Peter", "Janet", "Kevin", "Tracey", "Gareth", "Bronwen", "Alasdair", "Moira",
)  # fmt: skip

LAST_NAMES = (
    "Smith", "Jones", "Taylor", "Brown", "Williams", "Wilson", "Johnson", "Davies", "Patel", "Robinson", "Wright",
    "Thompson", "Evans", "Walker", "White", "Roberts", "Green", "Hall", "Wood", "Jackson", "Clarke", "Khan", "Lewis",
    "Hussain", "Hughes", "Ahmed", "Edwards", "Morris", "Singh", "Campbell", "MacDonald", "Stewart", "O'Brien",
    "O'Neill", "Kowalski", "Nowak", "Okafor", "Mensah", "Chen", "Wang", "Nguyen", "García", "Müller", "Begum",
    "Ali", "Murphy", "Kelly", "Scott", "Young", "Mitchell", "Turner", "Cooper", "Bell", "Shah", "Fletcher",
)  # fmt: skip

COLOURS = (
    ("black", 20), ("grey", 24), ("white", 17), ("blue", 16), ("red", 9), ("silver", 8), ("green", 3),
    ("orange", 1), ("yellow", 1), ("bronze", 1),
)  # fmt: skip

EQUIPMENT = (
    "air conditioning", "climate control", "heated seats", "parking sensors", "reversing camera", "Apple CarPlay",
    "Android Auto", "cruise control", "adaptive cruise control", "panoramic roof", "keyless entry", "alloy wheels",
    "LED headlights", "leather seats", "sat nav", "heated windscreen", "blind spot monitor", "tow bar", "DAB radio",
)  # fmt: skip

SERVICE_WORK = (
    ("annual service", 190), ("major service", 340), ("MOT test", 55), ("brake pads and discs", 290),
    ("four tyres", 420), ("timing belt", 520), ("battery", 135), ("clutch", 780), ("air conditioning recharge", 79),
    ("wheel alignment", 65), ("suspension arm", 240), ("software update", 0),
)  # fmt: skip

QUESTIONS = (
    "Is the {make} {model} still available? I could come on {day}.",
    "Would you take {offer} for the {model}? I have the cash ready.",
    "Does it have a full service history, and when was the timing belt last done?",
    "Would you take my {year} {old_model} in part exchange?",
    "Can the car be delivered to {city}, and what would that cost?",
    "How many keys come with it, and is there any finance left to pay?",
    "The pictures show a mark on the {side} door: is it a scratch or a dent?",
    "Could you send a video of a cold start, please?",
    "What would the monthly payments be with {offer} down over 48 months?",
    "Is the {equipment} fitted from the factory?",
)

PRAISE = (
    "The {model} was just as described, and the paperwork took ten minutes.",
    "{dealer} collected me from the station and explained every control of the {model}.",
    "Fair part exchange price, no pressure, and a full tank when I drove away.",
    "They put a new set of tyres on before I asked. The {model} drives beautifully.",
    "Second car that we have bought from {dealer}; the service is still as good.",
)

MIXED = (
    "Good car, but it took {dealer} two weeks to find the second key.",
    "The {model} is fine. The finance desk was slow and I had to send my licence three times.",
    "Fair price, though the valeting was poor: sand under all the mats.",
)

COMPLAINTS = (
    "The engine light of the {model} came on after three days, and nobody at {dealer} rang me back.",
    "The service book did not match the advert. I would look twice next time.",
    "Waited four hours for the handover, and the {model} still had a flat battery.",
)
