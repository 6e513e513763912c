/* The live page's files, as they are, in the binary. page.h names them. */
    .section .rodata

    .macro embed name, file
    .global \name
    .global \name\()_end
\name:
    .incbin "\file"
\name\()_end:
    .byte 0
    .endm

    embed page_html, "proxy/ops/page.html"
    embed page_css, "proxy/ops/page.css"
    embed page_js, "proxy/ops/page.js"

    .section .note.GNU-stack, "", %progbits
