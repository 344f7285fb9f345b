#!/usr/bin/env python3
"""Draws the pictures of chapters 1 to 6 beside itself; their numbers are those that
`memengine course N` prints.

    python3 docs/course/pictures/chapters_1_to_6.py
"""

import pathlib

from drawing import Drawing

FOLDER = pathlib.Path(__file__).resolve().parent


def feed_forward():
    d = Drawing(760, 416, "A feed-forward layer as a memory",
                "x is compared with four keys, the rows of w1. Only the key for Paris and capital of "
                "matches, so the output is the value France. Below: a dense layer compares a token "
                "with all its keys; a memory layer with a million rows reads 128 of them.")
    d.text(24, 34, "x", 15, bold=True)
    for i, (name, number) in enumerate([("Paris", 1), ("Rome", 0), ("capital of", 1), ("river of", 0)]):
        kind = "key" if number else "plain"
        d.box(24, 46 + 34 * i, 110, 28, "%s  %d" % (name, number), kind, 13)
    d.text(196, 34, "keys: rows of w1", 15, bold=True)
    d.text(400, 34, "key · x", 15, "middle", bold=True)
    d.text(482, 34, "hidden", 15, "middle", bold=True)
    d.text(540, 34, "values: columns of w2", 15, bold=True)
    rows = [("2  -2   2  -2", "4", "3.93", "France", True), ("2  -2  -2   2", "0", "0", "Seine", False),
            ("-2   2   2  -2", "0", "0", "Italy", False), ("-2   2  -2   2", "-4", "-0.07", "Tiber", False)]
    for i, (key, dot, hidden, value, hit) in enumerate(rows):
        y = 46 + 34 * i
        d.box(196, y, 150, 28, key, "key" if hit else "plain", 13, mono=True)
        d.text(400, y + 19, dot, 14, "middle", mono=True)
        d.text(482, y + 19, hidden, 14, "middle", mono=True, bold=hit)
        d.box(540, y, 110, 28, value, "value" if hit else "plain", 13)
        d.arrow([(510, y + 14), (538, y + 14)], "value" if hit else "rule")
    d.arrow([(140, 114), (192, 114)])
    d.arrow([(654, 60), (700, 60)], "value")
    d.text(704, 65, "out", 14, bold=True)
    d.text(442, 198, "silu(key · x) · (w3 · x)", 13, "middle", "quiet")

    d.line([(24, 218), (736, 218)])
    d.text(24, 246, "dense, 768 keys", 15, bold=True)
    d.text(24, 266, "every token is compared with every key", 13, kind="quiet")
    for i in range(24):
        d.box(330 + 16 * i, 236, 13, 30, "", "key")
    d.text(24, 312, "memory, 1,048,576 keys", 15, bold=True)
    d.text(24, 332, "2 · 1024 half keys are compared per head,", 13, kind="quiet")
    d.text(24, 350, "32 rows of each of 4 heads are read", 13, kind="quiet")
    for row in range(4):
        for i in range(24):
            hit = (7 * i + 5 * row) % 31 == 3
            d.box(330 + 16 * i, 298 + 17 * row, 13, 14, "", "value" if hit else "plain")
    d.text(24, 384, "Multiply-adds per token: 589,824 for 768 values in a dense layer; for 1,048,576 values "
                    "805,306,368", 13)
    d.text(24, 402, "in a dense layer and 1,474,560 in this memory layer.", 13)
    d.save(FOLDER / "01_feed_forward.py")


def product_keys():
    d = Drawing(760, 420, "The staircase",
                "Left: the sums of the four best halves; only the eight of the staircase can be among "
                "the four best, and four of them are picked. Right: the staircase of knn 16 in a "
                "square of 16 by 16, 50 of 256 cells; the cell a = 2, b = 4 has 15 better ones up and "
                "to the left of it and is still inside only if (a + 1)(b + 1) is at most knn.")
    d.text(24, 34, "knn = 4: the best halves and their sums", 15, bold=True)
    first = [(0, 2.0), (4, 1.8), (2, 1.5), (3, 0.3)]
    second = [(1, 1.9), (3, 1.5), (0, 1.0), (4, 0.9)]
    picked = {(0, 0), (1, 0), (0, 1), (2, 0)}
    d.text(206, 62, "second half: key, score", 13, "middle", "quiet")
    for b, (key, score) in enumerate(second):
        d.text(120 + 58 * b, 84, "%d" % key, 13, "middle", "quiet", mono=True)
        d.text(120 + 58 * b, 104, "%.1f" % score, 14, "middle", mono=True)
    for a, (key, score) in enumerate(first):
        y = 114 + 50 * a
        d.text(34, y + 28, "%d" % key, 13, "middle", "quiet", mono=True)
        d.text(68, y + 28, "%.1f" % score, 14, "middle", mono=True)
        for b in range(4):
            inside = (a + 1) * (b + 1) <= 4
            kind = "value" if (a, b) in picked else "key" if inside else "old"
            words = "%.1f" % (score + second[b][1]) if inside else ""
            d.box(93 + 58 * b, y, 54, 46, words, kind, 15, mono=True, bold=(a, b) in picked)
    d.box(24, 340, 18, 14, "", "value")
    d.text(50, 352, "picked", 13)
    d.box(118, 340, 18, 14, "", "key")
    d.text(144, 352, "looked at", 13)
    d.box(222, 340, 18, 14, "", "old")
    d.text(248, 352, "cannot win: nobody looks", 13)
    d.text(24, 384, "A pair (a, b), counted from 0, has (a + 1)(b + 1) - 1 pairs up and to the left of it,", 13)
    d.text(24, 402, "whose halves are both at least as good. With knn of them or more it is out.", 13)

    d.text(424, 34, "knn = 16: 50 of 256 sums", 15, bold=True)
    cell = 18
    left, top = 440, 62
    for a in range(16):
        for b in range(16):
            inside = (a + 1) * (b + 1) <= 16
            better = a <= 2 and b <= 4
            kind = "warm" if better else "key" if inside else "old"
            d.box(left + cell * b, top + cell * a, cell - 3, cell - 3, "", kind)
    d.text(left + cell * 4 + 8, top - 6, "b = 4", 12, "middle", "quiet")
    d.text(left - 6, top + cell * 2 + 12, "a = 2", 12, "end", "quiet")
    d.text(583, 366, "(2 + 1)(4 + 1) = 15 cells: still inside", 13, "middle", "quiet")
    d.save(FOLDER / "02_product_keys.py")


def six_picks():
    d = Drawing(760, 400, "Six picks, sorted by row",
                "Six picks of rows 7 2 9 7 2 7 by three tokens are sorted by row. order is 1 4 0 3 5 2; "
                "equal rows stand together in segments that offsets 0 2 5 6 delimit. Each segment is "
                "summed by itself into the gradient of its row: 1.5, 5 and 0.5.")
    picks = [7, 2, 9, 7, 2, 7]
    kinds = {2: "key", 7: "value", 9: "warm"}
    order = [1, 4, 0, 3, 5, 2]
    x = lambda i: 150 + 74 * i
    d.text(24, 34, "token", 14, kind="quiet")
    for token in range(3):
        d.box(x(2 * token), 18, 132, 24, "token %d" % token, "plain", 13)
    d.text(24, 77, "picks", 15, bold=True)
    d.text(24, 110, "inverse", 15, bold=True)
    inverse = [1, 0, 2, 1, 0, 1]
    for p, row in enumerate(picks):
        d.text(x(p) + 29, 57, "p = %d" % p, 11, "middle", "quiet")
        d.box(x(p), 62, 58, 24, "row %d" % row, kinds[row], 13)
        d.text(x(p) + 29, 110, "%d" % inverse[p], 14, "middle", mono=True)
    for i, p in enumerate(order):
        d.line([(x(p) + 29, 118), (x(i) + 29, 178)], kinds[picks[p]], 1.5)
    d.text(24, 201, "order", 15, bold=True)
    for i, p in enumerate(order):
        d.box(x(i), 182, 58, 28, "%d" % p, kinds[picks[p]], 14, mono=True)
    for begin, end, u, row in [(0, 2, 0, 2), (2, 5, 1, 7), (5, 6, 2, 9)]:
        d.line([(x(begin), 220), (x(begin), 228), (x(end) - 16, 228), (x(end) - 16, 220)], kinds[row], 2)
        middle = (x(begin) + x(end) - 16) / 2
        d.text(middle, 246, "segment of row %d" % row if row == 7 else "row %d" % row, 12, "middle")
        d.text(x(begin) + 4, 264, "offsets[%d] = %d" % (u, begin) if row != 9 else "[2] = 5", 11, "start", "quiet")
    d.text(x(6) + 4, 264, "[3] = 6", 11, "start", "quiet")
    d.text(24, 300, "gradients", 15, bold=True)
    sums = [("key", "row 2", "0.5·1 + 0.25·4", "1.5", 150), ("value", "row 7", "0.5·1 + 0.75·2 + 0.75·4", "5", 298),
            ("warm", "row 9", "0.25·2", "0.5", 520)]
    for kind, row, terms, total, left in sums:
        width = {"key": 132, "value": 206, "warm": 90}[kind]
        d.box(left, 284, width, 52, terms + "\n= " + total, kind, 13)
    d.text(24, 366, "A segment is summed from left to right, and nobody else writes its row: no atomics, and the "
                    "same order", 13)
    d.text(24, 384, "of the sum, so the same bits, in every run.", 13)
    d.save(FOLDER / "03_six_picks.py")


def lazy_decay():
    d = Drawing(760, 400, "A row that decays while nobody looks",
                "The weight that decay at every step would give falls from 0.8 after step 1 to 0.623 "
                "after step 4, and after the update of step 5 to 0.543. The table keeps 0.8 from step 1 "
                "to step 4; whoever reads it multiplies by exp of the difference of log_decay.")
    left, bottom, step_width = 90, 300, 96
    y = lambda w: bottom - (w - 0.5) * 640
    x = lambda s: left + step_width * (s - 1) + 16
    for w in (0.5, 0.6, 0.7, 0.8):
        d.line([(left, y(w)), (left + 6 * step_width + 20, y(w))], "rule", 0.5, dashed=True)
        d.text(left - 10, y(w) + 5, "%.1f" % w, 13, "end", "quiet", mono=True)
    eager = [None, 0.8, 0.728, 0.66976, 0.622877, 0.543101, 0.515946]
    stored = [None, 0.8, 0.8, 0.8, 0.8, 0.543101, 0.543101]
    for s in range(1, 7):
        end = x(s) + step_width - 10
        d.line([(x(s), y(stored[s])), (end, y(stored[s]))], "warm", 3)
        if s != 1 and s != 5:
            d.line([(x(s), y(eager[s])), (end, y(eager[s]))], "value", 3)
            d.arrow([(x(s) + 38, y(stored[s]) + 3), (x(s) + 38, y(eager[s]) - 3)], "rule")
        d.text(x(s) + 38, bottom + 24, "step %d" % s, 13, "middle", bold=s in (1, 5))
        d.text(x(s) + 38, bottom + 42, "picked" if s in (1, 5) else "keeps %.2f" % (0.89 + 0.01 * s), 12,
               "middle", "quiet")
    for s, factor in [(2, ".91"), (3, ".91 · .92"), (4, ".91 · .92 · .93"), (6, ".95")]:
        d.text(x(s) + 44, (y(stored[s]) + y(eager[s])) / 2 + 5, factor, 11, "start", mono=True)
    d.text(x(1), y(0.8) - 10, "stored in the table", 13, kind="warm_word")
    d.text(x(2) - 108, y(0.728) + 5, "what is read:", 13, kind="value_word")
    d.text(x(2) - 108, y(0.728) + 22, "decayed to now", 13, kind="value_word")
    d.text(24, 34, "One weight, picked in steps 1 and 5", 15, bold=True)
    d.text(24, 372, "read = stored · exp(log_decay[now] - log_decay[last_step]): one subtraction for any "
                    "number of missed steps.", 13)
    d.save(FOLDER / "04_lazy_decay.py")


def host_memory():
    d = Drawing(760, 460, "A row's life between host and GPU",
                "The table lies in host memory, weights and records apart. A row that is picked comes "
                "as a guest, weights only; the exchange moves it into a place of the cache and fetches "
                "its record; it is updated there, stays while it is used, and goes home when its place "
                "is wanted and it is the coldest.")
    d.box(20, 16, 250, 384, "", "plain")
    d.text(145, 40, "host memory: the table", 15, "middle", bold=True)
    d.box(430, 16, 310, 384, "", "plain")
    d.text(585, 40, "GPU memory", 15, "middle", bold=True)
    d.text(350, 40, "PCIe", 15, "middle", bold=True)
    d.text(46, 74, "row", 12, "middle", "quiet")
    d.text(108, 74, "weights (hi)", 12, "middle", "quiet")
    d.text(208, 74, "record", 12, "middle", "quiet")
    for i, row in enumerate([2, 4, 7, 9]):
        y = 84 + 74 * i
        d.text(46, y + 26, "%d" % row, 15, "middle", mono=True, bold=True)
        kind = {2: "warm", 4: "key"}.get(row, "old")
        d.box(66, y, 84, 42, "256 B", kind, 13)
        d.box(154, y, 106, 42, "1296 B", kind, 13)
        if row in (7, 9):
            d.text(163, y + 58, "old copy: the newest is in the cache", 11, "middle", "quiet")
    d.text(474, 75, "row cache: 3 places", 13, kind="quiet")
    for place, (row, kind) in enumerate([(4, "key"), (7, "value"), (9, "value")]):
        y = 84 + 54 * place
        d.box(474, y, 100, 42, "%d: row %d" % (place, row), kind, 13)
        d.box(578, y, 146, 42, "record", kind, 13)
    d.box(474, 262, 100, 42, "3: row 4", "key", 13)
    d.text(584, 280, "guests: places", 13, kind="quiet")
    d.text(584, 297, "from 3 on, weights", 13, kind="quiet")
    d.arrow([(108, 202), (108, 216), (300, 216), (300, 276), (472, 276)], "key", 2)
    d.text(306, 268, "1 the lookup reads", 13, kind="key_word")
    d.arrow([(472, 292), (448, 292), (448, 96), (472, 96)], "key", 2, dashed=True)
    d.text(454, 252, "2 the exchange", 13, kind="key_word")
    d.arrow([(262, 179), (330, 179), (330, 54), (690, 54), (690, 82)], "key", 2)
    d.text(336, 196, "2 its record", 13, kind="key_word")
    d.arrow([(472, 114), (264, 114)], "warm", 2)
    d.text(336, 134, "2 row 2 goes", 13, kind="warm_word")
    for line, words in enumerate(["3 bags read the places 1 3 1 1", "4 gradients, by segments",
                                  "5 sparse Adam updates in place"]):
        d.text(474, 336 + 22 * line, words, 13)
    d.text(24, 424, "Step 2 of the example: row 4 comes, row 2 goes home, rows 7 and 9 stay. What crosses the link "
                    "crosses it", 13)
    d.text(24, 442, "once, in both directions at the same time.", 13)
    d.save(FOLDER / "05_host_memory.py")


def exact_masters():
    d = Drawing(760, 420, "A weight in two halves",
                "The 32 bits of 1.99999 are 3fffffac. hi is 4000, the nearest BF16, which is 2.0; lo is "
                "minus 84, what is missing. hi stands in the table that the forward pass reads, lo in "
                "the record beside the moments and the last step.")
    d.text(24, 36, "1.99999 in FP32", 14, bold=True)
    bits = "{:032b}".format(0x3fffffac)
    for i, bit in enumerate(bits):
        d.box(160 + 18 * i, 18, 16, 26, bit, "key" if i < 16 else "warm", 12, mono=True)
    d.text(160 + 8 * 18, 62, "3fff", 13, "middle", "quiet", mono=True)
    d.text(160 + 24 * 18, 62, "ffac", 13, "middle", "quiet", mono=True)
    d.text(24, 100, "cut in the middle", 14)
    d.text(190, 100, "3fff = 1.9921875, and ffac is missing: what is read is wrong by 0.0078", 13, kind="quiet")
    d.text(24, 128, "split_float", 14, mono=True, bold=True)
    d.text(190, 128, "hi = 4000 = 2.0, and lo = -84: what is read is the nearest BF16, wrong by 0.00001", 13)

    d.line([(60, 196), (700, 196)], "rule", 2)
    for x, name, words in [(140, "3fff", "1.9921875"), (600, "4000", "2.0")]:
        d.line([(x, 186), (x, 206)], "key", 3)
        d.text(x, 178, name, 13, "middle", mono=True)
        d.text(x, 226, words, 13, "middle", "quiet")
    d.line([(589, 190), (589, 202)], "warm", 3)
    d.text(562, 178, "1.99999", 13, "end", kind="warm_word")
    d.line([(566, 174), (586, 188)], "warm", 1)
    d.arrow([(600, 246), (588, 246)], "warm", 2)
    d.text(580, 250, "lo = -84 steps of 1/65536 of the gap", 13, "end")

    d.text(24, 297, "table", 15, bold=True)
    d.box(150, 276, 150, 34, "hi", "key", 14, mono=True)
    d.text(316, 297, "16 bits per weight: all that a lookup reads", 13)
    d.text(24, 344, "record", 15, bold=True)
    for x, width, words, kind in [(150, 80, "lo", "warm"), (234, 120, "m", "plain"), (358, 120, "v", "plain"),
                                  (482, 90, "last_step", "plain")]:
        d.box(x, 324, width, 34, words, kind, 14, mono=True)
    d.text(586, 345, "only the optimizer's", 13)
    d.text(24, 392, "hi and lo together are the FP32 weight to the last bit, in the 4 bytes that FP32 takes: "
                    "no second copy.", 13)
    d.save(FOLDER / "06_exact_masters.py")


feed_forward()
product_keys()
six_picks()
lazy_decay()
host_memory()
exact_masters()
