/* The live page: plain HTML, CSS and JavaScript, embedded by page.S. It asks for /state.json once a second and shows what that says. */
#ifndef PROXY_OPS_PAGE_H
#define PROXY_OPS_PAGE_H

extern const char page_html[], page_html_end[];
extern const char page_css[], page_css_end[];
extern const char page_js[], page_js_end[];

#endif
