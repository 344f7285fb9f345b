"""Draws the pictures of chapters 7 to 11 beside itself: python3 chapters_7_to_11.py"""
import pathlib

from drawing import Drawing


def save(drawing, name):
    drawing.save(pathlib.Path(__file__).with_name(name + ".svg"))


def three_streams():
    """A step on three streams: the lengths of the chapter's example."""
    LEFT, UNIT = 80, 49
    ROWS = {"main": 50, "side": 115, "link": 180}
    drawing = Drawing(760, 270, "A step on three streams",
                      "Main: layers up to the last lookup from 0 to 3, head and backward to the first "
                      "memory to 7, the rest of the backward pass to 10, norm to 11, what is left of "
                      "the exchange to 11.5, dense update to 12.5. Side: plan from 3 to 4, row "
                      "gradients from 7 to 9, update of rows from 11.5 to 13.5. Link: rows go and come "
                      "from 4 to 11. Arrows show which waits for which.")

    def part(stream, begin, end, words, kind):
        drawing.box(LEFT + begin * UNIT, ROWS[stream], (end - begin) * UNIT, 36, words, kind, 12)

    def at(time):
        return LEFT + time * UNIT

    for stream, y in ROWS.items():
        drawing.text(20, y + 23, stream, bold=True)
    part("main", 0, 3, "layers up to\nthe last lookup", "key")
    part("main", 3, 7, "head, backward to\nthe first memory", "key")
    part("main", 7, 10, "rest of the backward", "key")
    part("main", 10, 11, "norm", "key")
    part("main", 11, 11.5, "", "value")
    part("main", 11.5, 12.5, "dense", "key")
    part("side", 3, 4, "plan", "warm")
    part("side", 7, 9, "row gradients", "warm")
    part("side", 11.5, 13.5, "update of rows", "warm")
    part("link", 4, 11, "rows go and come, in a few blocks", "value")
    drawing.arrow([(at(3), 86), (at(3), 115)])
    drawing.arrow([(at(4), 151), (at(4), 180)])
    drawing.arrow([(at(7), 86), (at(7), 115)])
    drawing.arrow([(at(11.5), 86), (at(11.5), 115)])
    drawing.arrow([(at(9), 133), (at(11) - 6, 133), (at(11) - 6, 88)], dashed=True)
    drawing.arrow([(at(11), 198), (at(11.25), 198), (at(11.25), 88)], dashed=True)
    drawing.text(740, 38, "what is left of the exchange", 12, "end", "quiet")
    drawing.line([(at(0), 234), (at(13.5), 234)])
    for time in range(14):
        drawing.line([(at(time), 231), (at(time), 237)])
        drawing.text(at(time), 254, str(time), 12, "middle", "quiet")
    save(drawing, "07_three_streams")


def cuda_graph():
    """Launches one by one, and as a record."""
    drawing = Drawing(760, 300, "A step as launches and as a record",
                      "Above, the host launches kernels one by one and the GPU waits between them. "
                      "Below, one launch replays a record and the kernels follow one another. A record "
                      "keeps kernels, grids, arguments and addresses; what lies at the addresses is read "
                      "anew; the host's code is not there any more.")
    drawing.text(20, 28, "launched one by one", bold=True)
    drawing.text(20, 55, "host", 12, kind="quiet")
    drawing.text(20, 89, "GPU", 12, kind="quiet")
    for i in range(12):
        drawing.box(70 + i * 40, 40, 30, 20, kind="warm")
        drawing.box(102 + i * 40, 74, 14, 20, kind="key")
    drawing.text(570, 70, "the GPU waits for launches", 12, kind="quiet")
    drawing.text(20, 132, "one record, replayed", bold=True)
    drawing.text(20, 159, "host", 12, kind="quiet")
    drawing.text(20, 193, "GPU", 12, kind="quiet")
    drawing.box(70, 144, 30, 20, kind="warm")
    drawing.text(110, 159, "one launch; the host is free to bring the next batch", 12, kind="quiet")
    for i in range(12):
        drawing.box(102 + i * 16, 178, 14, 20, kind="key")
    drawing.box(20, 218, 232, 64, "kept in the record: kernels,\ngrids, arguments, addresses,\n"
                "which waits for which", "key", 12)
    drawing.box(264, 218, 232, 64, "read anew at every replay:\nwhat lies at the addresses: step,\n"
                "rates, counts of rows, the batch", "value", 12)
    drawing.box(508, 218, 232, 64, "not there any more:\nthe host's code between launches,\n"
                "its ifs and its numbers", "old", 12)
    save(drawing, "08_cuda_graph")


def attention_on_hopper():
    """The backward pass of attention: a block's warpgroups and barriers, and the blocks' turns."""
    drawing = Drawing(760, 440, "Attention backward on Hopper",
                      "A copying warpgroup and two multiplying ones with the barriers between them; "
                      "below, key blocks 3 to 0 walk over the query tiles that see them, each one tile "
                      "behind the block before, so that every tile gets its dQ by descending keys.")
    drawing.text(20, 28, "a block: 128 keys, tile after tile of 128 queries", bold=True)
    drawing.box(20, 42, 232, 150, kind="value")
    drawing.text(136, 62, "copying warpgroup, 40 registers", 12, "middle", bold=True)
    for y, words in ((86, "warp 0: fetch, TMA brings Q, dO,"), (102, "log-sum-exp and delta"),
                     (128, "warp 1: carry h = 0, adds dQ"), (152, "warp 2: carry h = 1, adds dQ")):
        drawing.text(30, y, words, 12)
    drawing.text(30, 178, "two tiles ahead, in stages 0 and 1", 12, kind="quiet")
    for half, y in ((0, 42), (1, 122)):
        drawing.box(430, y, 310, 70, kind="key")
        drawing.text(440, y + 18, "keys %d to %d, 232 registers" % (64 * half, 64 * half + 63), 12,
                     bold=True)
        drawing.text(440, y + 38, "S = K Q^T, dP = V dO^T; P; dV += P dO", 12)
        drawing.text(440, y + 58, "dS to shared memory; dQ = dS^T K, dK += dS Q", 12)
    for y, right, words in ((72, True, "there[s]: full"), (98, False, "used[s]: free"),
                            (146, False, "dquery_there[h]"), (174, True, "dquery_gone[h]")):
        drawing.arrow([(252, y), (430, y)] if right else [(430, y), (252, y)])
        drawing.text(341, y - 6, words, 12, "middle", "quiet")
    drawing.arrow([(718, 112), (718, 122)])
    drawing.arrow([(728, 122), (728, 112)])
    drawing.text(585, 210, "named barrier 1: dS of all 128 keys is there", 12, "middle", "quiet")
    drawing.text(20, 246, "dQ of a query tile is added by descending keys: every block waits for its turn",
                 bold=True)
    KINDS = ("plain", "warm", "value", "key")
    for row, block in enumerate((3, 2, 1, 0)):
        y = 262 + row * 36
        drawing.text(20, y + 19, "key block %d" % block, 12)
        for tile in range(block, 4):
            drawing.box(110 + (tile - block) * 92, y, 86, 28, "query tile %d" % tile, KINDS[tile], 12)
    for y, words in ((296, "time goes to the right; block n passes"),
                     (312, "the turn of a tile on to block n - 1,"),
                     (328, "which comes to it just then")):
        drawing.text(500, y, words, 12, kind="quiet")
    drawing.text(20, 424, "tile 3 is added by blocks 3, 2, 1, 0, in this order every time: the same "
                 "rounding, the same bits", 12, kind="quiet")
    save(drawing, "09_attention_on_hopper")


def many_gpus():
    """A table spread over two ranks: the chapter's example."""
    drawing = Drawing(760, 310, "A table spread over two ranks",
                      "Each rank lists the distinct rows of its picks by owner; row numbers go to the "
                      "owners, BF16 rows come back, FP32 gradients go to the owners, who add them up in "
                      "the order of ranks.")
    LISTS = ("distinct rows\n2 | 7 9", "distinct rows\n2 4 | 5 7")
    for rank, y in ((0, 46), (1, 176)):
        drawing.text(20, y - 12, "rank %d" % rank, bold=True)
        drawing.box(20, y, 130, 54, "tokens of rank %d\nall dense weights" % rank, "key", 12)
        drawing.box(200, y, 120, 54, LISTS[rank], "warm", 12)
        drawing.box(600, y, 140, 54, "rows %s\nowner: rank %d"
                    % (", ".join(str(row) for row in range(rank, 10, 2)), rank), "value", 12)
        drawing.arrow([(150, y + 27), (200, y + 27)])
    drawing.arrow([(320, 64), (600, 64)])
    drawing.arrow([(320, 82), (600, 190)])
    drawing.arrow([(320, 192), (600, 90)])
    drawing.arrow([(320, 212), (600, 212)])
    for x, y, words in ((350, 58, "2"), (350, 112, "7 9"), (350, 168, "2 4"), (350, 228, "5 7")):
        drawing.text(x, y, words, 12, bold=True)
    drawing.text(460, 42, "1: row numbers go to the owners", 12, "middle", "quiet")
    drawing.text(460, 252, "2: BF16 rows come back, 3: FP32 gradients go to the owners", 12, "middle",
                 "quiet")
    drawing.text(460, 270, "4: the owner adds rank 0's and then rank 1's, and updates its rows", 12,
                 "middle", "quiet")
    drawing.text(20, 296, "dense gradients: one sum over ranks after the backward pass; then every rank "
                 "makes the same update", 12, kind="quiet")
    save(drawing, "10_many_gpus")


def measuring_honestly():
    """The exercise's two runs, against steps and against seconds."""
    DENSE = [(1, 4.0), (2, 3.7), (3, 3.5), (4, 3.4)]  # thousands of steps, loss
    MEMORY = [(1, 3.9), (2, 3.6)]

    drawing = Drawing(760, 310, "Two runs, against steps and against seconds",
                      "After 2,000 steps each the memory model's loss is 0.1 lower; in 20 seconds, in "
                      "which the dense model makes 4,000 steps, it is 0.2 higher.")

    def plot(left, title, dense_unit, memory_unit, labels):
        drawing.text(left, 28, title, bold=True)
        drawing.line([(left, 46), (left, 236), (left + 300, 236)])
        for points, unit, kind in ((DENSE, dense_unit, "key"), (MEMORY, memory_unit, "warm")):
            places = [(left + unit * x, 46 + (4.1 - loss) * 230) for x, loss in points]
            drawing.line(places, kind, 2)
            for (x, y), (_, loss) in zip(places, points):
                drawing.box(x - 5, y - 5, 10, 10, kind=kind)
                if kind == "key":
                    drawing.text(x + 9, y - 7, "%.1f" % loss, 12)
                else:
                    drawing.text(x - 8, y + 18, "%.1f" % loss, 12, "end")
        for i, label in enumerate(labels, 1):
            drawing.text(left + 66 * i, 254, label, 12, "middle", "quiet")

    plot(40, "against steps: memory is 0.1 ahead", 66, 66, ("1,000", "2,000", "3,000", "4,000"))
    plot(420, "against seconds: memory is 0.2 behind", 66, 132, ("5 s", "10 s", "15 s", "20 s"))
    drawing.box(50, 278, 10, 10, kind="key")
    drawing.text(68, 288, "dense, 5 ms per step", 12)
    drawing.box(220, 278, 10, 10, kind="warm")
    drawing.text(238, 288, "memory, 10 ms per step", 12)
    drawing.text(740, 288, "losses made up, as in the exercise", 12, "end", "quiet")
    save(drawing, "11_measuring_honestly")


three_streams()
cuda_graph()
attention_on_hopper()
many_gpus()
measuring_honestly()
