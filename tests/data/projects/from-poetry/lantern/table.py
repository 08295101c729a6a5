from openpyxl import Workbook


def workbook(lights: list[str]) -> Workbook:
    book = Workbook()
    for light in lights:
        book.active.append([light])
    return book
