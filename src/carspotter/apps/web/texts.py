"""Every text of the page, in English and in Russian; `words.py` chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from carspotter.errors import Reason
from carspotter.records import Kind, ListingVerdict, Verb, Verdict

Language = Literal["en", "ru"]
LANGUAGES: Mapping[Language, str] = {"en": "English", "ru": "Русский"}

TEXTS: Mapping[str, tuple[str, str]] = {
    "photos": ("Photos", "Снимки"),
    "listing": ("Listing", "Объявление"),
    "lot": ("Lot", "Партия"),
    "model": ("Model", "Модель"),
    "drop": ("Drop photos here, paste them, or choose", "Перетащите снимки, вставьте или выберите"),
    "clear": ("Clear", "Очистить"),
    "working": ("Looking…", "Смотрю…"),
    "why": ("Why?", "Почему?"),
    "why_alt": (
        "Where the net saw it: orange speaks for the answer, blue for the runner-up",
        "Где сеть это увидела: оранжевое за ответ, синее за второй вариант",
    ),
    "like": ("Training photos of {label} that are most like it", "Похожие снимки из обучения: {label}"),
    "like_alt": (
        "{label}, training photo, distance {distance:.2f}",
        "{label}, снимок из обучения, расстояние {distance:.2f}",
    ),
    "like_absent": (
        "Not among the photos given to this server: {count}",
        "Нет среди снимков, данных этому серверу: {count}",
    ),
    "like_others": (
        "Not shown, since another photo has the name: {count}",
        "Не показано, потому что под этим именем другой снимок: {count}",
    ),
    "no_like": (
        "This model remembers no training photos; train it again to have them.",
        "Эта модель не помнит снимков, на которых училась; обучите её заново.",
    ),
    "declared": ("Declared model", "Заявленная модель"),
    "declared_hint": ("as the ad names it", "как в объявлении"),
    "check": ("Check", "Проверить"),
    "no_declared": ("Name the model that the ad declares.", "Укажите модель из объявления."),
    "no_photos": ("Add photos of the ad.", "Добавьте снимки объявления."),
    "suspicion": ("Suspicion", "Подозрение"),
    "recognised": ("Recognised", "Распознано"),
    "probability": ("Probability of the declared model", "Вероятность заявленной модели"),
    "shown": ("{model} in the photos: {count}, {share:.0%}", "{model} на снимках: {count}, вероятность {share:.0%}"),
    "unlike": ("Unlike every known model: {count}", "Не похоже на известные модели: {count}"),
    "no_car": ("No car from outside: {count}", "Машины снаружи не видно: {count}"),
    "left_out": ("More photos or names than are looked at", "Больше снимков или имён, чем просматривается"),
    "unusable": ("Unusable photos: {count}", "Негодных снимков: {count}"),
    "untaught": ("The declared model was not taught", "Заявленной модели не учили"),
    "family": ("A {group}; which one is unsure", "Это {group}; какая именно, неясно"),
    "no_map": (
        "This page cannot draw it, as this model's head is not linear; `carspotter explain` can: {install}",
        "Страница этого не рисует: последний слой модели не линейный; нарисует `carspotter explain`: {install}",
    ),
    "table": ("Table of ads (.csv, .xlsx)", "Таблица объявлений (.csv, .xlsx)"),
    "archive": ("Their photos: a .zip, or files", "Их снимки: .zip или файлы"),
    "model_column": ("Declared model", "Заявленная модель"),
    "photo_column": ("Photos", "Снимки"),
    "price_column": ("Price (optional)", "Цена (необязательно)"),
    "year_column": ("Year (optional)", "Год (необязательно)"),
    "check_lot": ("Check the lot", "Проверить партию"),
    "download": ("Download the table", "Скачать таблицу"),
    "photos_done": ("{done} of {total} photos", "Снимков: {done} из {total}"),
    "need_both": ("Choose a table and its photos first.", "Сначала выберите таблицу и снимки к ней."),
    "ads": ("ads: {count}", "объявлений: {count}"),
    "sized": ("{name}, {megabytes:.1f} MB", "{name}, {megabytes:.1f} МБ"),
    "forgotten": (
        "The photos were looked at and forgotten; choose them again for another check.",
        "Снимки просмотрены и забыты; для новой проверки выберите их снова.",
    ),
    "bad_table": (
        "{name}: no table that can be read; save it as CSV (UTF-8) or XLSX, and choose it again.",
        "{name}: такую таблицу не прочесть; сохраните её как CSV (UTF-8) или XLSX и выберите снова.",
    ),
    "bad_zip": (
        "{name}: this zip cannot be used; pack the photos again, and choose it again.",
        "{name}: такой архив не годится; упакуйте снимки заново и выберите его снова.",
    ),
    "too_many_ads": (
        "{name}: {count} ads; this page takes {most}, `carspotter lot` any number.",
        "{name}: объявлений {count}; страница берёт до {most}, а `carspotter lot` сколько угодно.",
    ),
    "too_large": (
        "{names}: too large; a file may have {megabytes} MB.",
        "{names}: слишком много; файл может быть до {megabytes} МБ.",
    ),
    "too_many_files": (
        "{names}: left out; {files} files are taken at a time.",
        "{names}: не взято; за раз берётся файлов: {files}.",
    ),
    "wrong_kind": ("{names}: not taken here; {kinds} are.", "{names}: здесь не берётся; берутся {kinds}."),
    "not_arrived": (
        "{names}: did not arrive; the connection broke, or it took over {seconds:.0f} s. Send it again, or less.",
        "{names}: не дошло; связь прервалась, или прошло больше {seconds:.0f} с. Пришлите снова или меньше за раз.",
    ),
    "too_many_here": ("Left out, an ad may have {most}: {count}", "Не взято, в объявлении может быть {most}: {count}"),
    "some_let_go": (
        "Let go to make room, send them again: {count}",
        "Забыто, чтобы освободить память, пришлите снова: {count}",
    ),
    "let_go": (
        "The photo was let go to make room for others; send it again to ask more.",
        "Снимок забыт, чтобы освободить память для других; чтобы спросить ещё, пришлите его снова.",
    ),
    "again": ("Try again", "Ещё раз"),
    "fault": ("Something went wrong here; try again.", "Что-то пошло не так; попробуйте ещё раз."),
    "accuracy": (
        "{accuracy:.0%} right on {photos} photos that did not train it",
        "{accuracy:.0%} верных ответов на {photos} снимках, не участвовавших в обучении",
    ),
    "unmeasured": ("its accuracy was not measured", "точность не измерялась"),
    "private": (
        "Photos are in this server's memory while this page is open, and are not saved.",
        "Снимки лежат в памяти сервера, пока открыта эта страница, и не сохраняются.",
    ),
    "language": ("Language", "Язык"),
    "review": ("Review", "Разбор"),
    "runs": ("Runs", "Запуски"),
    "all": ("all", "все"),
    "kind": ("Kind of finding", "Вид находки"),
    "keys": (
        "Keys: N, P (or ← →) move, K keep, D drop, R relabel as suggested, U undo the latest; on disk at once.",
        "Клавиши: N, P (или ← →) ходить, K оставить, D убрать, R назвать иначе, U отменить последнее; на диске сразу.",
    ),
    "keys_on": ("Keys decide", "Решать клавишами"),
    "previous": ("Previous findings", "Предыдущие находки"),
    "next": ("Next findings", "Следующие находки"),
    "keep": ("Keep", "Оставить"),
    "drop_photo": ("Drop", "Убрать"),
    "relabel": ("It is {label}", "Это {label}"),
    "undo": ("Undo", "Отменить"),
    "decided": ("{done} of {total} decided", "Решено: {done} из {total}"),
    "refresh": ("Show the runs", "Показать запуски"),
    "busy": (
        "Too many photos wait already; try again in a moment.",
        "Слишком много снимков уже ждут; попробуйте ещё раз чуть позже.",
    ),
    "no_answer": (
        "This model cannot be asked just now; try again.",
        "Эту модель сейчас спросить нельзя; попробуйте ещё раз.",
    ),
    "too_many": ("{count} photos; an ad may have {most}.", "Снимков: {count}; в объявлении может быть {most}."),
    "curves": ("Curves of the chosen runs", "Кривые выбранных запусков"),
}

VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.NAMED: ("It is a {label}.", "Это {label}."),
    Verdict.ONE_OF: ("One of these: {labels}.", "Одна из этих: {labels}."),
    Verdict.UNSURE: ("Not sure; a person should look.", "Не уверен; пусть посмотрит человек."),
    Verdict.UNKNOWN: (
        "Not a model I know. Most like a {label}.",
        "Этой модели я не знаю. Больше всего похоже на {label}.",
    ),
    Verdict.NOT_A_CAR: ("No car is seen from outside.", "Машины снаружи не видно."),
    Verdict.BAD_PHOTO: ("This photo cannot be used.", "Этот снимок не годится."),
}

LISTINGS: Mapping[ListingVerdict, tuple[str, str]] = {
    ListingVerdict.MATCH: ("The photos show the declared model.", "На снимках заявленная модель."),
    ListingVerdict.MISMATCH: ("The photos show another model.", "На снимках другая модель."),
    ListingVerdict.CANNOT_TELL: ("The photos do not tell.", "По снимкам не понять."),
    ListingVerdict.NOT_EXTERIOR: (
        "No readable photo shows a car from outside.",
        "На читаемых снимках нет машины снаружи.",
    ),
}


KINDS: Mapping[Kind, tuple[str, str]] = {
    Kind.LABEL_ERROR: ("perhaps a wrong label", "возможно, неверная метка"),
    Kind.OUTLIER: ("strange photo", "странный снимок"),
    Kind.LEAK: ("copy in another set", "копия в другом наборе"),
    Kind.EXACT_DUPLICATE: ("the same file twice", "тот же файл дважды"),
    Kind.NEAR_DUPLICATE: ("near copy", "почти копия"),
    Kind.DARK: ("dark", "тёмный"),
    Kind.BRIGHT: ("overexposed", "пересвеченный"),
    Kind.BLURRY: ("blurry", "смазанный"),
    Kind.TINY: ("tiny", "крошечный"),
    Kind.ODD_ASPECT: ("of an odd shape", "странных пропорций"),
    Kind.CLASS_OVERLAP: ("classes overlap", "классы перекрываются"),
}

VERBS: Mapping[Verb, tuple[str, str]] = {
    Verb.KEEP: ("kept", "оставлено"),
    Verb.RELABEL: ("relabelled", "названо иначе"),
    Verb.DROP: ("dropped", "убрано"),
}

CELLS: Mapping[ListingVerdict, tuple[str, str]] = {
    ListingVerdict.MATCH: ("match", "совпадает"),
    ListingVerdict.MISMATCH: ("mismatch", "не совпадает"),
    ListingVerdict.CANNOT_TELL: ("cannot tell", "не понять"),
    ListingVerdict.NOT_EXTERIOR: ("not this car's exterior", "машины снаружи нет"),
}
"""Verdicts as cells of a table."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "verdict": ("verdict", "вердикт"),
    "recognised": ("recognised", "распознано"),
    "probability": ("probability", "вероятность"),
    "suspicion": ("suspicion", "подозрение"),
    "reason": ("reason", "причина"),
    "price_gap": ("price gap", "ниже медианы"),
    "id": ("id", "номер"),
    "name": ("name", "название"),
    "accuracy": ("accuracy", "точность"),
    "log loss": ("log loss", "лог-потери"),
    "minutes": ("minutes", "минуты"),
    "against the best": ("against the best", "против лучшего"),
}
"""Headings of our tables."""

STANDINGS: tuple[tuple[str, str], ...] = (
    ("best", "лучший"),
    ("worse", "хуже"),
    ("not distinguishable", "неотличим"),
    ("intervals overlap", "интервалы перекрываются"),
    ("intervals do not overlap", "интервалы не перекрываются"),
    ("no answers to pair", "нет ответов для пары"),
    ("not tested", "не проверено"),
)
"""Parts of what `tracking/leaderboard.py` says of a run beside the best one."""

REASONS: Mapping[Reason, tuple[str, str]] = {
    Reason.MISSING: ("It is not there.", "Его нет."),
    Reason.EMPTY: ("The file is empty.", "Файл пуст."),
    Reason.NOT_A_PHOTO: ("It is no photo; save it as JPEG.", "Это не снимок; сохраните его как JPEG."),
    Reason.UNSUPPORTED: ("Its format is not read; save it as JPEG.", "Такой формат не читается; сохраните как JPEG."),
    Reason.TRUNCATED: ("The file ends early; copy it again.", "Файл обрывается; скопируйте его ещё раз."),
    Reason.UNREADABLE: ("It cannot be read; send another copy.", "Не читается; пришлите другую копию."),
    Reason.TOO_LARGE: ("It is too large; send a smaller copy.", "Слишком большой; пришлите копию поменьше."),
    Reason.TOO_SMALL: ("It is too small.", "Слишком маленький."),
    Reason.TIMEOUT: ("It took too long; send a smaller copy.", "Слишком долго; пришлите копию поменьше."),
    Reason.UNREACHABLE: ("It is out of reach; try later.", "До него не добраться; попробуйте позже."),
    Reason.TOO_MANY: ("There are too many.", "Их слишком много."),
    Reason.NOT_ALLOWED: ("It may not be read here.", "Здесь его нельзя прочитать."),
    Reason.CRASHED: ("Reading it failed; send another copy.", "Прочитать не удалось; пришлите другую копию."),
    Reason.MISSING_EXTRA: ("This server does not read its format.", "Этот сервер не читает такой формат."),
}
