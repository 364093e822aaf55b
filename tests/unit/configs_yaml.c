/*
 * configs_yaml.c - bytes to a tree: what real profiles write, what is wrong with broken ones and where, and what a hostile one must not cost
 */
#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "configs/config.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- trees as text: {k:v} [a,b] ~ plain "quoted" ---- */

static void dump(const struct cfg_node *n, FILE *to)
{
    if (!n || n->kind == CFG_NULL)
        fputc('~', to);
    else if (n->kind == CFG_SCALAR)
        fprintf(to, n->quoted ? "\"%s\"" : "%s", n->text);
    else
        fputc(n->kind == CFG_MAP ? '{' : '[', to);
    for (const struct cfg_node *c = cfg_first(n); c; c = c->next) {
        if (n->kind == CFG_MAP)
            fprintf(to, "%s:", c->key->text);
        dump(c, to);
        if (c->next)
            fputc(',', to);
    }
    if (n && (n->kind == CFG_MAP || n->kind == CFG_SEQ))
        fputc(n->kind == CFG_MAP ? '}' : ']', to);
}

static char *tree_of(const char *bytes, size_t len, struct diag *d)
{
    struct cfg_doc *doc = cfg_parse(bytes, len, d);
    char *text = NULL;
    size_t size;
    FILE *f;

    if (!doc)
        return NULL;
    f = open_memstream(&text, &size);
    dump(cfg_root(doc), f);
    fclose(f);
    cfg_doc_free(doc);
    return text;
}

static void expect_tree(const char *yaml, size_t len, const char *want)
{
    struct diag d;
    char *got;

    diag_init(&d, "t", yaml, len, false);
    if (!(got = tree_of(yaml, len, &d)))
        fail_msg("%s: %s", yaml, d.n ? d.items[0].message : "nothing");
    assert_string_equal(got, want);
    assert_int_equal(d.n, 0);
    free(got);
    diag_fini(&d);
}

static void what_profiles_write(void **state)
{
    static const struct { const char *yaml, *tree; } cases[] = {
        /* scalars: raw text, whatever it looks like */
        { "a: 0123\nb: 1e5\nc: 0o17\nd: yes\ne: 2024-01-01\nf: 1_000", "{a:0123,b:1e5,c:0o17,d:yes,e:2024-01-01,f:1_000}" },
        { "a: \"0123\"\nb: 'it''s'\nc: \"tab\\tand \\u00e9\"", "{a:\"0123\",b:\"it's\",c:\"tab\tand \xc3\xa9\"}" },
        { "a: |\n  one\n  two\nb: >-\n  one\n  two\nc: |+\n  x\n\n", "{a:\"one\ntwo\n\",b:\"one two\",c:\"x\n\n\"}" },
        { "a:\nb: ~\nc: null\nd: NULL\ne: ''\nf: \"null\"\ng: Null", "{a:~,b:~,c:~,d:~,e:\"\",f:\"null\",g:~}" },
        { "a: one\n  two\n  three", "{a:one two three}" },
        { "password: p#ss\nurl: http://x/#y\nc: v # comment", "{password:p#ss,url:http://x/#y,c:v}" },
        /* tags */
        { "a: !!str 123\nb: !<str> 123\nc: !!int \"5\"\nd: ! 12\ne: !!null ''\nf: !foo x\ng: !!bool 'true'", "{a:\"123\",b:\"123\",c:5,d:\"12\",e:~,f:\"x\",g:true}" },
        { "a: !!map {b: c}\nd: !!seq [e]", "{a:{b:c},d:[e]}" },
        /* flow, JSON, nesting */
        { "proxies: [{name: a, type: ss}, {name: 'b'}]\nx: {}\ny: []", "{proxies:[{name:a,type:ss},{name:\"b\"}],x:{},y:[]}" },
        { "{\"a\": [1, true, null, \"x\"], \"b\": {\"c\": -1.5}}", "{a:[1,true,~,\"x\"],b:{c:-1.5}}" },
        { "- a\n- - b\n  - c\n-\n  d: e", "[a,[b,c],{d:e}]" },
        { "rules:\n- a,b\n- c: d", "{rules:[a,b,{c:d}]}" },
        { "? a\n: b", "{a:b}" },
        { "{a, b: }", "{a:~,b:~}" },
        /* anchors and merges */
        { "a: &x 1\nb: *x\nc: [*x, *x]", "{a:1,b:1,c:[1,1]}" },
        { "a: &x {k: v, l: [1]}\nb: *x", "{a:{k:v,l:[1]},b:{k:v,l:[1]}}" },
        { "p: &p {udp: true, port: 1}\na: {<<: *p, port: 2}", "{p:{udp:true,port:1},a:{port:2,udp:true}}" },
        { "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}", "{a:{x:1},b:{x:2,y:2},c:{z:3,x:1,y:2}}" },
        { "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}", "{a:{x:1},b:{y:2,x:1},c:{y:2,x:1}}" },
        { "a: {<<: {x: 1}, y: 2}", "{a:{y:2,x:1}}" },
        { "a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b}", "{a:{x:1},b:{y:2},c:{x:1,y:2}}" },
        { "c: {<<: , y: 2}\nd: {<<: [], z: 1}", "{c:{y:2},d:{z:1}}" },
        { "'<<': {x: 1}", "{<<:{x:1}}" },
        { "a: &x 1\nb: &x 2\nc: *x", "{a:1,b:2,c:2}" },
        { "&k key: v\nb: *k", "{key:v,b:key}" },
        /* bytes */
        { "a: 1\r\nb:\r\n  - x\r\n  - y\r\n", "{a:1,b:[x,y]}" },
        { "\xef\xbb\xbf" "a: 1", "{a:1}" },
        { "a: 1\t# tab before a comment\nb:\t2", "{a:1,b:2}" },
        { "name: 🇭🇰 香港 01 | x2\n'🚀': a", "{name:🇭🇰 香港 01 | x2,🚀:a}" },
        { "b: x\xe2\x80\x8by\xc2\xa0z", "{b:x\xe2\x80\x8by\xc2\xa0z}" },
        /* streams */
        { "---\na: 1\n---\nb: 2\n", "{a:1}" },
        { "%YAML 1.2\n---\na: 1\n...\ngarbage: [", "{a:1}" },
        { "", "~" },
        { "# only a comment\n", "~" },
        { "just text", "just text" },
    };

    for (size_t i = 0; i < LEN(cases); i++)
        expect_tree(cases[i].yaml, strlen(cases[i].yaml), cases[i].tree);
}

static void utf16_with_a_mark(void **state)
{
    static const char little[] = "\xff\xfe" "a\0:\0 \0\x2d\x4e\n\0", big[] = "\xfe\xff" "\0a\0:\0 \x4e\x2d\0\n";

    expect_tree(little, sizeof(little) - 1, "{a:中}");
    expect_tree(big, sizeof(big) - 1, "{a:中}");
}

/* ---- positions ---- */

static void nodes_know_where_they_stand(void **state)
{
    static const char yaml[] = "mode: rule\nproxies:\n  - name: 香港\n    port: 1\n  - {name: b, <<: *x}\n";
    static const char text[] = "base: &x {udp: true}\n\nlist:\n  - 香港: &y 1\n  - *x\n  - {<<: *x, k: *y}\n";
    struct diag d;
    struct cfg_doc *doc;
    const struct cfg_node *list, *n;

    diag_init(&d, "t", yaml, sizeof(yaml) - 1, false);
    assert_null(cfg_parse(yaml, sizeof(yaml) - 1, &d));
    assert_int_equal(d.items[0].line, 5);
    assert_int_equal(d.items[0].column, 19);
    diag_fini(&d);

    assert_non_null(doc = cfg_parse(text, sizeof(text) - 1, &d));
    list = cfg_get(cfg_root(doc), "list");
    assert_int_equal(list->line, 4);
    assert_int_equal(list->key->line, 3);
    n = list->child; /* a mapping of one key: it stands where the key does */
    assert_int_equal(n->line, 4);
    assert_int_equal(n->column, 5);
    assert_int_equal(n->child->column, 9);
    n = n->next; /* an alias stands where it is used, its children where the anchor is */
    assert_int_equal(n->line, 5);
    assert_int_equal(n->column, 5);
    assert_int_equal(n->child->line, 1);
    assert_int_equal(n->child->column, 16);
    n = n->next;
    assert_int_equal(n->line, 6);
    assert_int_equal(cfg_get(n, "k")->line, 6);
    assert_int_equal(cfg_get(n, "udp")->line, 1);
    cfg_doc_free(doc);
    diag_fini(&d);
}

static void a_second_file_says_so(void **state)
{
    struct cfg_doc *doc = cfg_doc_new();
    const struct cfg_node *a, *b;
    struct diag d;

    diag_init(&d, "one", NULL, 0, false);
    diag_set_source(&d, 1, "two", NULL, 0);
    assert_int_equal(cfg_parse_into(doc, "x: 1", 4, 0, &d, &a), 0);
    assert_int_equal(cfg_parse_into(doc, "\n x: [1", 7, 1, &d, &b), -EINVAL);
    assert_null(b);
    assert_int_equal(d.items[0].source, 1);
    assert_int_equal(d.items[0].line, 2);
    assert_int_equal(cfg_parse_into(doc, "\n yy: 1", 7, 1, &d, &b), 0);
    assert_int_equal(cfg_source(a->child->column), 0);
    assert_int_equal(cfg_source(b->child->column), 1);
    assert_int_equal(cfg_column(b->child->column), 6);
    assert_int_equal(b->child->line, 2);
    cfg_doc_free(doc);
    diag_fini(&d);
}

/* ---- what is wrong, and where ---- */

static void broken_yaml_is_told_in_words(void **state)
{
    static const struct { const char *yaml; uint32_t line, column; const char *words; } cases[] = {
        { "a: 1\nb\nc: 2", 2, 1, "a key needs a colon" },
        { "a: 1\n b: 2", 2, 3, "align" },
        { "a: b: c", 1, 5, "put the text in quotes" },
        { "a:\n  - x\n - y", 3, 2, "keys of one mapping stand in one column" },
        { "a:\n  b: 1\n c: 2", 3, 2, "line 1" },
        { "a: \"x\" y", 1, 8, "nothing may follow a closing quote" },
        { "- a\nb: c", 2, 1, "dashes" },
        { "a: [1, 2\nb: 3", 2, 2, "the [ stands in line 1" },
        { "a: {b: 1\nc: 2}", 2, 2, "the { stands in line 1" },
        { "a:\n - *.lan", 2, 4, "text that begins with * needs quotes" },
        { "a: &", 1, 4, "text that begins with & needs quotes" },
        { "a: @x", 1, 4, "text that begins with @ needs quotes" },
        { "a: `x", 1, 4, "text that begins with ` needs quotes" },
        { "a: %x", 1, 4, "text that begins with % needs quotes" },
        { "a:\n\tb: 1", 2, 1, "a tab cannot indent" },
        { "a:\n  - x\n\t- y", 3, 1, "a tab cannot indent" },
        { "a: \"x\nb: 1\n", 1, 4, "never closed" },
        { "a: 'x\n---\nb: 1\n", 1, 4, "not closed" },
        { "a: \"^\\d+$\"", 1, 6, "backslash" },
        { "a: \"\\xzz\"", 1, 7, "backslash" },
        { "a: - b", 1, 4, "list entry" },
        { "a: *nobody", 1, 4, "there is no anchor &nobody" },
        { "a: &x [1, *x]", 1, 11, "inside its own anchor" },
        { "a: |x\n  y", 1, 5, "the line must end" },
        { "a: !x!y z", 1, 4, "text that begins with ! needs quotes" },
        { "[a]: b", 1, 1, "a key must be a plain text" },
        { "a: {<<: x}", 1, 9, "a merge key (<<) takes a mapping" },
        { "a: 1\nb: \x01", 2, 4, "control character U+0001" },
        { "a: 1\nb: x\xff", 2, 5, "not UTF-8 (byte 0xFF)" },
        { "a: \xd6\xd0\xb9\xfa", 1, 5, "not UTF-8" },
        { "a: x\xe4\xb8", 1, 5, "the text ends in the middle of a character" },
        { "a: \"x\\0y\"", 1, 4, "NUL" },
        { "% x\na: 1", 1, 1, "a line that begins with %" },
        { "%YAML 3.0\n---\na: 1", 1, 1, "YAML 1.1 and 1.2" },
        { "a: {b: ]}", 1, 8, "value is missing" },
        { "a: &节点 {k: v}", 1, 4, "no letters but A-Z" },
        { "a: 1\nb: [1,\n  2\n", 2, 4, "not complete when the text ends" },
        { "proxies: [ {\nrules: ]", 2, 8, "value is missing" },
        { "a: 1\nx: [\n", 2, 4, "not complete when the text ends" },
        { "x: [{a: ", 1, 5, "not complete when the text ends" },
        { "x: {a: 1", 1, 4, "not complete when the text ends" },
    };

    for (size_t i = 0; i < LEN(cases); i++) {
        struct diag d;

        diag_init(&d, "t", cases[i].yaml, strlen(cases[i].yaml), false);
        if (cfg_parse(cases[i].yaml, strlen(cases[i].yaml), &d) || d.n != 1)
            fail_msg("no error, or several: %s", cases[i].yaml);
        if (d.items[0].line != cases[i].line || d.items[0].column != cases[i].column || !strstr(d.items[0].message, cases[i].words))
            fail_msg("%s\n  at %u:%u: %s", cases[i].yaml, d.items[0].line, d.items[0].column, d.items[0].message);
        assert_string_equal(d.items[0].code, "yaml");
        assert_int_equal(d.items[0].level, DIAG_ERROR);
        diag_fini(&d);
    }
}

static void all_duplicate_keys_are_told(void **state)
{
    static const char yaml[] = "a: 1\nb: {x: 1, \"x\": 2}\na: 2\n'a': 3\n";
    static const uint32_t lines[] = { 2, 3, 4 };
    struct cfg_doc *doc = cfg_doc_new();
    const struct cfg_node *root;
    struct diag d;

    diag_init(&d, "t", yaml, sizeof(yaml) - 1, false);
    assert_null(cfg_parse(yaml, sizeof(yaml) - 1, &d));
    assert_int_equal(d.n, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(d.items[i].line, lines[i]);
    assert_non_null(strstr(d.items[1].message, "first in line 1"));
    diag_fini(&d);
    assert_int_equal(cfg_parse_into(doc, yaml, sizeof(yaml) - 1, 0, &d, &root), 0); /* the first counts: the rest can be judged */
    assert_string_equal(cfg_text(root, "a", CFG_KEYS_EXACT), "1");
    assert_int_equal(root->n, 2);
    cfg_doc_free(doc);
    diag_fini(&d);
}

/* ---- what a hostile profile must not cost (time: tests/bench/hostile.c) ---- */

static char *repeat(const char *head, const char *what, size_t times, const char *tail)
{
    char *s = NULL;
    size_t size;
    FILE *f = open_memstream(&s, &size);

    fputs(head, f);
    for (size_t i = 0; i < times; i++)
        fputs(what, f);
    fputs(tail, f);
    fclose(f);
    return s;
}

static void expect_error(const char *yaml, const char *words)
{
    struct diag d;

    diag_init(&d, "t", NULL, 0, false);
    assert_null(cfg_parse(yaml, strlen(yaml), &d));
    assert_true(d.n > 0);
    if (!strstr(d.items[d.n - 1].message, words))
        fail_msg("%s", d.items[d.n - 1].message);
    diag_fini(&d);
}

static void caps_end_as_messages(void **state)
{
    char bomb[2048] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n", *s;
    struct cfg_doc *doc;
    struct diag d;

    for (int i = 1; i < 12; i++)
        sprintf(bomb + strlen(bomb), "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    expect_error(bomb, "more than 1,000,000 values");
    strcpy(bomb, "a0: &a0 {x: 1, y: 2}\n");
    for (int i = 1; i < 20; i++)
        sprintf(bomb + strlen(bomb), "a%d: &a%d {<<: *a%d, p%d: *a%d, q%d: *a%d}\n", i, i, i - 1, i, i - 1, i, i - 1);
    expect_error(bomb, "more than 1,000,000 values");

    expect_error(s = repeat("", "[", 65, ""), "nested deeper than 64 levels");
    free(s);
    expect_error(s = repeat("", "[", 100000, ""), "nested deeper than 64 levels");
    free(s);
    expect_error(s = repeat("", "- ", 65, "x"), "nested deeper than 64 levels");
    free(s);
    diag_init(&d, "t", NULL, 0, false);
    s = repeat("", "- ", 64, "x");
    assert_non_null(doc = cfg_parse(s, strlen(s), &d));
    cfg_doc_free(doc);
    free(s);
    expect_error("a: &a [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\nb: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
                 "nested deeper than 64 levels");
    expect_error(s = repeat("", "- x\n", 1000001, ""), "more than 1,000,000 values");
    free(s);
    expect_error(s = repeat("a: &a [", "x", 1 << 20, "]\nb: [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,"
                                        "*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]"),
                 "more than 1,000,000 values"); /* a megabyte of text is many values */
    free(s);
    expect_error(s = repeat("", "x: 1\n", 5000, ""), "is here twice, too; the rest was not read");
    free(s);
    assert_null(cfg_parse("x", CFG_MAX_INPUT + 1u, &d)); /* not read */
    assert_non_null(strstr(d.items[d.n - 1].message, "64 MiB"));
    diag_fini(&d);
}

/* As an IPv6 server between braces, or a password. */
static void a_text_between_brackets_may_end_with_a_colon(void **state)
{
    static const char yaml[] = "x: [{server: 2001:db8::, \"q:,\": \"a:,b\", pw: abc:}, [a:], 'b:,', \"c\": 1]\nbad: [y\n";
    static const char good[] = "x: [{server: 2001:db8::, \"q:,\": \"a:,b\", pw: abc:}, [a:], 'b:,']\ny: {z: 1}\n";
    const struct cfg_node *x, *map;
    struct cfg_doc *doc;
    struct diag d;

    diag_init(&d, "t", NULL, 0, false);
    assert_non_null(doc = cfg_parse(good, sizeof(good) - 1, &d));
    x = cfg_get(cfg_root(doc), "x");
    map = x->child;
    assert_string_equal(cfg_text(map, "server", CFG_KEYS_EXACT), "2001:db8::");
    assert_string_equal(cfg_text(map, "q:,", CFG_KEYS_EXACT), "a:,b");
    assert_string_equal(cfg_text(map, "pw", CFG_KEYS_EXACT), "abc:");
    assert_int_equal(cfg_get(map, "pw")->column, 45);
    assert_string_equal(map->next->child->text, "a:");
    assert_string_equal(map->next->next->text, "b:,");
    assert_int_equal(d.n, 0);
    cfg_doc_free(doc);
    assert_null(cfg_parse(yaml, sizeof(yaml) - 1, &d)); /* another mistake is still told, where it stands */
    assert_int_equal(d.n_errors, 1);
    assert_int_equal(d.items[0].line, 2);
    diag_fini(&d);
    expect_error("x: [abc:, '\xee\x80\xba']", "needs quotes"); /* the stand-in is taken */
    expect_error("{x: abc:, x: 1}", "is here twice");
}

static void duplicate_keys_in_what_others_read_are_no_error(void **state)
{
    static const char yaml[] = "cfw-parsers:\n- yaml: {a: 1, a: 2}\np: &p {a: 1, a: 2}\nmode: rule\n";
    struct cfg_doc *doc;
    struct diag d;

    diag_init(&d, "t", NULL, 0, false);
    assert_non_null(doc = cfg_parse(yaml, sizeof(yaml) - 1, &d));
    assert_int_equal(d.n_warnings, 2);
    assert_int_equal(d.items[0].line, 2);
    assert_int_equal(d.items[0].column, 16);
    assert_string_equal(cfg_text(cfg_get(cfg_root(doc), "p"), "a", CFG_KEYS_EXACT), "1");
    cfg_doc_free(doc);
    diag_fini(&d);
    expect_error("dns: {a: 1, a: 2}", "is here twice");
    expect_error("proxies: [{name: a, name: b}]", "is here twice");
    expect_error("cfw-parsers: 1\ncfw-parsers: 2\n", "is here twice");
}

static void one_alias_is_one_node(void **state)
{
    static const char yaml[] = "a: &a [1, 2, 3]\nb: [*a, *a]\n";
    struct diag d;
    struct cfg_doc *doc;
    const struct cfg_node *a, *b;

    diag_init(&d, "t", NULL, 0, false);
    assert_non_null(doc = cfg_parse(yaml, sizeof(yaml) - 1, &d));
    a = cfg_get(cfg_root(doc), "a");
    b = cfg_get(cfg_root(doc), "b");
    assert_ptr_equal(a->child, b->child->child);
    assert_ptr_not_equal(b->child, b->child->next);
    assert_int_equal(cfg_root(doc)->size, 1 + (1 + 4) + 1 + (1 + 4 + 4));
    cfg_doc_free(doc);
    diag_fini(&d);
}

/* ---- finding ---- */

static void keys_are_found_exactly_then_loosely(void **state)
{
    static const char yaml[] = "{Skip_Cert-Verify: 1, name: a, NAME: b, alterid: 3, empty: , list: [1]}";
    struct diag d;
    struct cfg_doc *doc;
    const struct cfg_node *root;

    diag_init(&d, "t", NULL, 0, false);
    assert_non_null(doc = cfg_parse(yaml, sizeof(yaml) - 1, &d));
    root = cfg_root(doc);
    assert_string_equal(cfg_find(root, "NAME", CFG_KEYS_NOCASE)->text, "b");
    assert_string_equal(cfg_find(root, "Name", CFG_KEYS_NOCASE)->text, "a");
    assert_null(cfg_find(root, "Name", CFG_KEYS_EXACT));
    assert_null(cfg_find(root, "skip-cert-verify", CFG_KEYS_NOCASE));
    assert_string_equal(cfg_find(root, "skip-cert-verify", CFG_KEYS_PROXY)->text, "1");
    assert_string_equal(cfg_find(root, "alterId", CFG_KEYS_PROXY)->text, "3");
    assert_null(cfg_text(root, "empty", CFG_KEYS_EXACT));
    assert_null(cfg_text(root, "list", CFG_KEYS_EXACT));
    assert_null(cfg_text(root->child, "x", CFG_KEYS_EXACT));
    assert_null(cfg_get(NULL, "x"));
    assert_null(cfg_first(NULL));
    cfg_doc_free(doc);
    diag_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_profiles_write),
        cmocka_unit_test(utf16_with_a_mark),
        cmocka_unit_test(nodes_know_where_they_stand),
        cmocka_unit_test(a_second_file_says_so),
        cmocka_unit_test(broken_yaml_is_told_in_words),
        cmocka_unit_test(all_duplicate_keys_are_told),
        cmocka_unit_test(a_text_between_brackets_may_end_with_a_colon),
        cmocka_unit_test(duplicate_keys_in_what_others_read_are_no_error),
        cmocka_unit_test(caps_end_as_messages),
        cmocka_unit_test(one_alias_is_one_node),
        cmocka_unit_test(keys_are_found_exactly_then_loosely),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
