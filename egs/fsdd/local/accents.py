"""English digits as people of other languages may say them.

Each word is spelt so that espeak-ng's voice of that language comes near its sound with the sounds that the language has: a
Greek TWO has the vowel of που, a German SEVEN begins as sieben does.
"""

SPELLINGS = {
    "cs": ("zírou", "uan", "tú", "srí", "fór", "fajv", "siks", "sevn", "ejt", "najn"),
    "de": ("siero", "wann", "tuh", "thrie", "fohr", "feif", "sicks", "sewen", "äit", "nein"),
    "el": ("ζίρο", "ουάν", "του", "θρι", "φορ", "φάιβ", "σιξ", "σέβεν", "έιτ", "νάιν"),
    "es": ("siro", "uan", "tu", "tri", "for", "faif", "six", "seven", "eit", "nain"),
    "fi": ("siirou", "uan", "tuu", "srii", "foor", "faiv", "siks", "seven", "eit", "nain"),
    "fr": ("ziro", "ouane", "tou", "sri", "fore", "faïve", "sixe", "sévène", "éïte", "naïne"),
    "hi": ("ज़ीरो", "वन", "टू", "थ्री", "फ़ोर", "फ़ाइव", "सिक्स", "सेवन", "एट", "नाइन"),
    "hu": ("zíró", "van", "tú", "szrí", "fór", "fájv", "sziksz", "szeven", "éjt", "nájn"),
    "it": ("ziro", "uan", "tu", "tri", "for", "faiv", "sics", "seven", "eit", "nain"),
    "nl": ("ziero", "wan", "toe", "srie", "foor", "faif", "siks", "sevven", "eet", "nain"),
    "pl": ("ziro", "łan", "tu", "tri", "for", "fajw", "siks", "sewen", "ejt", "najn"),
    "pt-br": ("ziro", "uan", "tu", "tri", "fór", "faive", "sics", "séven", "eite", "naine"),
    "ru": ("зиро", "уан", "ту", "сри", "фор", "файв", "сикс", "севен", "эйт", "найн"),
    "sv": ("siro", "oann", "to", "tri", "får", "fajv", "sikks", "seven", "ejt", "najn"),
    "tr": ("ziro", "van", "tu", "tri", "for", "fayv", "siks", "sevın", "eyt", "nayn"),
}
