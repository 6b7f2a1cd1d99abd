"""Every word of the page, in English and in Russian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from carspotter.errors import Reason
from carspotter.records import ListingVerdict, Verdict

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
    "declared": ("Declared model", "Заявленная модель"),
    "declared_hint": ("as the ad names it", "как в объявлении"),
    "check": ("Check", "Проверить"),
    "no_declared": ("Name the model that the ad declares.", "Укажите модель из объявления."),
    "no_photos": ("Add photos of the ad.", "Добавьте снимки объявления."),
    "suspicion": ("Suspicion", "Подозрение"),
    "recognised": ("Recognised", "Распознано"),
    "probability": ("Probability of the declared model", "Вероятность заявленной модели"),
    "shown": ("{count} photos show a {model}, {share:.0%}", "{model} на снимках: {count}, вероятность {share:.0%}"),
    "unlike": ("Unlike every known model: {count}", "Не похоже на известные модели: {count}"),
    "no_car": ("No car from outside: {count}", "Машины снаружи не видно: {count}"),
    "unusable": ("Unusable photos: {count}", "Негодных снимков: {count}"),
    "family": ("A {group}; which one is unsure", "Это {group}; какая именно, неясно"),
    "no_map": (
        "No picture for this model: its head is not linear.",
        "Для этой модели картинки нет: её последний слой не линейный.",
    ),
    "table": ("Table of ads (.csv, .xlsx)", "Таблица объявлений (.csv, .xlsx)"),
    "archive": ("Photos (.zip)", "Снимки (.zip)"),
    "columns": ("Columns", "Столбцы"),
    "model_column": ("Declared model", "Заявленная модель"),
    "photo_column": ("Photos", "Снимки"),
    "price_column": ("Price (optional)", "Цена (необязательно)"),
    "year_column": ("Year (optional)", "Год (необязательно)"),
    "check_lot": ("Check the lot", "Проверить партию"),
    "download": ("Download the table", "Скачать таблицу"),
    "ads_done": ("{done} of {total} ads", "{done} из {total} объявлений"),
    "need_both": ("Choose a table and a zip of photos first.", "Сначала выберите таблицу и zip со снимками."),
    "too_large": ("{name} is too large.", "{name}: слишком большой файл."),
    "fault": ("Something went wrong here; try again.", "Что-то пошло не так; попробуйте ещё раз."),
    "accuracy": (
        "{accuracy:.0%} right on {photos} photos that did not train it",
        "{accuracy:.0%} верных ответов на {photos} снимках, не участвовавших в обучении",
    ),
    "unmeasured": ("its accuracy was not measured", "точность не измерялась"),
    "private": (
        "Photos are looked at and forgotten; nothing is stored.",
        "Снимки просматриваются и забываются; ничего не хранится.",
    ),
    "language": ("Language", "Язык"),
    "review": ("Review", "Разбор"),
    "runs": ("Runs", "Запуски"),
    "all": ("all", "все"),
    "kind": ("Kind of finding", "Вид находки"),
    "keys": (
        "Keys: N, P (or ← →) move, K keep, D drop, R relabel as suggested, U undo. Each decision is saved at once.",
        "Клавиши: N, P (или ← →) ходить, K оставить, D убрать, R назвать иначе, U отменить. Сохраняется сразу.",
    ),
    "previous": ("Previous findings", "Предыдущие находки"),
    "next": ("Next findings", "Следующие находки"),
    "keep": ("Keep", "Оставить"),
    "drop_photo": ("Drop", "Убрать"),
    "relabel": ("It is {label}", "Это {label}"),
    "undo": ("Undo", "Отменить"),
    "decided": ("{done} of {total} decided", "Решено: {done} из {total}"),
    "refresh": ("Show the runs", "Показать запуски"),
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
    ListingVerdict.NOT_EXTERIOR: ("No photo shows a car from outside.", "Ни на одном снимке нет машины снаружи."),
}


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
    Reason.MISSING_EXTRA: ("This server does not read its format.", "Этот сервер не читает такой формат."),
}


class Words:
    """The words of one language.

    Args:
        language: of the reader.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._at = 0 if language == "en" else 1

    def __call__(self, key: str, **values: object) -> str:
        """One text, with its values filled in."""
        return TEXTS[key][self._at].format(**values)

    def verdict(self, verdict: Verdict, labels: list[str]) -> str:
        """What an answer claims, in plain words."""
        return VERDICTS[verdict][self._at].format(label=labels[0] if labels else "?", labels=", ".join(labels))

    def reason(self, reason: Reason) -> str:
        """Why a photo cannot be used."""
        return REASONS[reason][self._at]

    def listing(self, verdict: ListingVerdict) -> str:
        """What the photos say of an ad."""
        return LISTINGS[verdict][self._at]


def choose_language(asked: str | None, accepted: str | None) -> Language:
    """The language asked for, else the browser's first one that we speak, else English.

    Args:
        asked: `?lang=`.
        accepted: the header `Accept-Language`.
    """
    if asked in LANGUAGES:
        return "ru" if asked == "ru" else "en"
    for part in (accepted or "").split(","):
        tongue = part.split(";")[0].strip().casefold()[:2]
        if tongue in LANGUAGES:
            return "ru" if tongue == "ru" else "en"
    return "en"
