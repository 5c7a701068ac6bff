"""What pages are made of: number words, scales, SVG charts, one stylesheet and a frame, shared by every page.

Walks in: numbers and texts. Walks out: strings of HTML and SVG that need nothing from outside themselves. It does not
know trials, audits or services; the rooms that do hand over finished values.

    words.py    a number as a reader sees it: 91.5%, 1,250, 3 min 20 s
    scale.py    data → position: linear and logarithmic scales with their ticks
    svg.py      the canvas that every chart is drawn on; a chart in two widths
    charts.py   dot plot with intervals, scatter with a logarithmic axis, lines
    grids.py    heat map, reliability diagram, bars, histogram
    page.py     templates and stylesheet → one self-contained page
"""
