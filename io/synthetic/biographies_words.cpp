// The word lists of the synthetic biographies.
#include "io/synthetic/biographies_words.h"

namespace memengine::biography_words {
namespace {

constexpr std::string_view first_name_list[] = {
    "Aaron",  "Ada",     "Adrian", "Agnes",  "Alan",   "Alice",  "Alma",   "Amos",   "Amy",
    "Andrew", "Anna",    "Anton",  "Anya",   "April",  "Arthur", "Astrid", "Basil",  "Beatrice",
    "Ben",    "Bertha",  "Boris",  "Brenda", "Bruno",  "Carl",   "Carmen", "Cecil",  "Celia",
    "Chloe",  "Clara",   "Colin",  "Cora",   "Cyrus",  "Daisy",  "Daniel", "David",  "Dora",
    "Edgar",  "Edith",   "Elena",  "Eli",    "Ella",   "Emil",   "Emma",   "Eric",   "Esther",
    "Eva",    "Felix",   "Fiona",  "Flora",  "Frank",  "Freya",  "George", "Gloria", "Grace",
    "Greta",  "Harold",  "Hazel",  "Helen",  "Henry",  "Hugo",   "Ida",    "Igor",   "Irene",
    "Isaac",  "Ivan",    "Jacob",  "Jane",   "Joan",   "Jonas",  "Judith", "Julia",  "Karen",
    "Kevin",  "Klara",   "Laura",  "Leo",    "Lena",   "Lewis",  "Linda",  "Lucas",  "Lucy",
    "Magnus", "Marcus",  "Maria",  "Martin", "Maya",   "Milo",   "Mona",   "Nadia",  "Nathan",
    "Nina",   "Nora",    "Olga",   "Oscar",  "Paula",  "Peter",  "Rosa",   "Samuel", "Sarah",
    "Simon",  "Sofia",   "Stella", "Tamara", "Thomas", "Ursula", "Vera",   "Victor", "Viola",
    "Walter", "Winifred"};

constexpr std::string_view middle_name_list[] = {
    "Amber",    "Ash",    "Aspen",   "Autumn",  "Avery",  "Bay",    "Birch",   "Blair",   "Blaze",
    "Briar",    "Brook",  "Cedar",   "Clay",    "Clover", "Coral",  "Cove",    "Cricket", "Crystal",
    "Dale",     "Dawn",   "Dell",    "Drew",    "Dusk",   "East",   "Echo",    "Ellis",   "Ember",
    "Faith",    "Falcon", "Fawn",    "Fern",    "Finch",  "Flint",  "Forest",  "Fox",     "Frost",
    "Garnet",   "Glen",   "Gray",    "Grove",   "Harper", "Haven",  "Hawk",    "Heath",   "Heron",
    "Hollis",   "Holly",  "Hope",    "Indigo",  "Iris",   "Ivory",  "Ivy",     "Jade",    "Jasper",
    "Jay",      "Jet",    "Juniper", "Kestrel", "Lake",   "Lark",   "Laurel",  "Leaf",    "Lilac",
    "Linden",   "Lotus",  "Lynx",    "Maple",   "Marsh",  "Meadow", "Merle",   "Mint",    "Moss",
    "North",    "Oak",    "Ocean",   "Olive",   "Onyx",   "Opal",   "Orchid",  "Otter",   "Pearl",
    "Pine",     "Poppy",  "Quartz",  "Quill",   "Rain",   "Raven",  "Reed",    "Ridge",   "River",
    "Robin",    "Rose",   "Rowan",   "Sage",    "Sky",    "Slate",  "Sparrow", "Spruce",  "Star",
    "Sterling", "Stone",  "Storm",   "Summer",  "Teal",   "Thorn",  "Vale",    "Violet",  "West",
    "Willow",   "Wren"};

constexpr std::string_view surname_front_list[] = {
    "Ald",  "Bark", "Beck", "Black", "Brad", "Bright", "Carl", "Chest", "Cold", "Crom",
    "Dark", "Deer", "Dun",  "Elm",   "Ever", "Fair",   "Farn", "Forg",  "Gold", "Green",
    "Hart", "High", "Kirk", "Lang",  "Lock", "Long",   "Mill", "New",   "Nor",  "Old",
    "Pem",  "Rad",  "Red",  "Rock",  "Shel", "Silver", "Stan", "Sun",   "Whit", "Win"};

constexpr std::string_view surname_back_list[] = {
    "berg",  "born", "bridge", "brook", "bury",  "by",    "combe", "croft", "dale", "den",  "er",
    "field", "ford", "gate",   "ham",   "hill",  "hurst", "land",  "ley",   "man",  "mere", "more",
    "ridge", "shaw", "son",    "stone", "strom", "ton",   "ward",  "well",  "wick", "worth"};

constexpr std::string_view month_list[] = {"January",   "February", "March",    "April",
                                           "May",       "June",     "July",     "August",
                                           "September", "October",  "November", "December"};

constexpr std::string_view city_list[] = {
    "Accra",      "Adelaide", "Algiers",    "Amsterdam",  "Ankara",    "Antwerp",   "Athens",
    "Atlanta",    "Auckland", "Austin",     "Baltimore",  "Bangkok",   "Barcelona", "Basel",
    "Belfast",    "Bergen",   "Berlin",     "Bilbao",     "Bologna",   "Bordeaux",  "Boston",
    "Bremen",     "Brisbane", "Bristol",    "Brussels",   "Bucharest", "Budapest",  "Cairo",
    "Calgary",    "Cardiff",  "Chicago",    "Cleveland",  "Cologne",   "Columbus",  "Copenhagen",
    "Cork",       "Dakar",    "Dallas",     "Delhi",      "Denver",    "Detroit",   "Dresden",
    "Dublin",     "Dundee",   "Durban",     "Edinburgh",  "Florence",  "Frankfurt", "Gdansk",
    "Geneva",     "Genoa",    "Ghent",      "Glasgow",    "Granada",   "Graz",      "Hamburg",
    "Hanoi",      "Havana",   "Helsinki",   "Houston",    "Istanbul",  "Jakarta",   "Kampala",
    "Kiev",       "Kingston", "Krakow",     "Kyoto",      "Lagos",     "Leeds",     "Leipzig",
    "Lima",       "Lisbon",   "Liverpool",  "London",     "Lyon",      "Madrid",    "Malaga",
    "Manchester", "Manila",   "Marseille",  "Melbourne",  "Memphis",   "Miami",     "Milan",
    "Montreal",   "Mumbai",   "Munich",     "Nairobi",    "Naples",    "Nashville", "Oakland",
    "Odessa",     "Osaka",    "Oslo",       "Ottawa",     "Oxford",    "Palermo",   "Paris",
    "Perth",      "Phoenix",  "Pittsburgh", "Portland",   "Porto",     "Prague",    "Princeton",
    "Quebec",     "Quito",    "Riga",       "Rome",       "Rotterdam", "Salzburg",  "Santiago",
    "Sapporo",    "Seattle",  "Seoul",      "Seville",    "Singapore", "Sofia",     "Stockholm",
    "Sydney",     "Tallinn",  "Tampa",      "Tokyo",      "Toledo",    "Toronto",   "Toulouse",
    "Trieste",    "Tunis",    "Turin",      "Utrecht",    "Valencia",  "Vancouver", "Venice",
    "Vienna",     "Vilnius",  "Warsaw",     "Wellington", "Winnipeg",  "York",      "Zagreb",
    "Zurich"};

constexpr std::string_view university_town_list[] = {
    "Alder",    "Ashby",    "Bexley",    "Calder",  "Camden",   "Carver",   "Clifton", "Dalton",
    "Denham",   "Easton",   "Elgin",     "Fairfax", "Fenwick",  "Gilford",  "Granby",  "Halston",
    "Harlow",   "Hawthorn", "Ironside",  "Kelvin",  "Kendal",   "Langdon",  "Larkin",  "Lindsey",
    "Marlow",   "Merton",   "Milford",   "Norwood", "Oakham",   "Orwell",   "Penrose", "Preston",
    "Quincy",   "Ramsey",   "Redmond",   "Selby",   "Sheridan", "Stafford", "Sutton",  "Tilden",
    "Upton",    "Vernon",   "Wakefield", "Walden",  "Weston",   "Whitby",   "Wilmot",  "Winslow",
    "Woodbury", "Yarrow"};

constexpr std::string_view university_pattern_list[] = {"@ University", "@ College",
                                                        "the University of @", "the @ Institute"};

constexpr std::string_view major_list[] = {
    "Accounting",   "Acoustics",    "Aerospace",   "Agriculture",  "Anatomy",     "Anthropology",
    "Archaeology",  "Architecture", "Astronomy",   "Biochemistry", "Biology",     "Botany",
    "Cartography",  "Ceramics",     "Chemistry",   "Cinema",       "Classics",    "Computing",
    "Criminology",  "Dance",        "Demography",  "Design",       "Drama",       "Dentistry",
    "Ecology",      "Economics",    "Education",   "Electronics",  "Engineering", "Entomology",
    "Ethics",       "Fashion",      "Finance",     "Forestry",     "Genetics",    "Geography",
    "Geology",      "Geometry",     "History",     "Horticulture", "Hydrology",   "Immunology",
    "Journalism",   "Law",          "Linguistics", "Literature",   "Logic",       "Logistics",
    "Management",   "Marketing",    "Mathematics", "Mechanics",    "Medicine",    "Metallurgy",
    "Meteorology",  "Mineralogy",   "Music",       "Neuroscience", "Nursing",     "Nutrition",
    "Oceanography", "Optics",       "Painting",    "Pathology",    "Pharmacy",    "Philosophy",
    "Photography",  "Physics",      "Physiology",  "Poetry",       "Politics",    "Psychology",
    "Religion",     "Robotics",     "Sculpture",   "Sociology",    "Statistics",  "Surveying",
    "Theology",     "Toxicology",   "Virology",    "Zoology"};

constexpr std::string_view employer_name_list[] = {
    "Acorn",    "Apex",       "Arrow",    "Atlas",    "Aurora",  "Beacon",  "Blue Sky", "Bolt",
    "Borealis", "Bravo",      "Cascade",  "Cobalt",   "Comet",   "Compass", "Corner",   "Crest",
    "Delta",    "Dragon",     "Eagle",    "Eclipse",  "Everest", "Fabric",  "Fusion",   "Galaxy",
    "Gemini",   "Harbor",     "Helix",    "Horizon",  "Impulse", "Jupiter", "Keystone", "Lantern",
    "Liberty",  "Lighthouse", "Magnet",   "Meridian", "Mosaic",  "Nimbus",  "Nova",     "Orbit",
    "Paragon",  "Phoenix",    "Pinnacle", "Polaris",  "Prism",   "Pulse",   "Quantum",  "Radiant",
    "Saffron",  "Saturn",     "Sierra",   "Spectrum", "Summit",  "Tandem",  "Titan",    "Vector",
    "Vertex",   "Voyager",    "Zenith",   "Zephyr"};

constexpr std::string_view employer_kind_list[] = {"Airlines", "Bank",    "Books",  "Energy",
                                                   "Foods",    "Labs",    "Motors", "Press",
                                                   "Robotics", "Software"};

constexpr std::array<std::string_view, templates_per_attribute> sentence_front_list[6] = {
    {" was born on", "'s birthday is", " came into the world on", " celebrates the birth date of",
     "'s life began on"},
    {" was born in", " came from", "'s birthplace is", " spent the early years in",
     " is a native of"},
    {" studied at", " graduated from", " earned a degree from", " was a student of",
     "'s education was completed at"},
    {" majored in", " specialized in", "'s field of study was", " wrote a thesis on",
     " holds a degree in"},
    {" worked for", " was employed by", "'s employer was", " had a job at", " made a career with"},
    {" worked in", " had an office in", "'s place of work was", " went to work every day in",
     " moved for work to"}};

}  // namespace

std::span<const std::string_view> first_names() {
  return first_name_list;
}
std::span<const std::string_view> middle_names() {
  return middle_name_list;
}
std::span<const std::string_view> surname_fronts() {
  return surname_front_list;
}
std::span<const std::string_view> surname_backs() {
  return surname_back_list;
}
std::span<const std::string_view> months() {
  return month_list;
}
std::span<const std::string_view> cities() {
  return city_list;
}
std::span<const std::string_view> university_towns() {
  return university_town_list;
}
std::span<const std::string_view> university_patterns() {
  return university_pattern_list;
}
std::span<const std::string_view> majors() {
  return major_list;
}
std::span<const std::string_view> employer_names() {
  return employer_name_list;
}
std::span<const std::string_view> employer_kinds() {
  return employer_kind_list;
}
std::span<const std::array<std::string_view, templates_per_attribute>, 6> sentence_fronts() {
  return sentence_front_list;
}

}  // namespace memengine::biography_words
