/*
 * reject.c - the ways that lead nowhere: REJECT, REJECT-DROP, PASS, PASS-RULE
 *
 * What they do is said by their action and done by the engine, which answers the application (reset, ICMP error, silence) or, for PASS and PASS-RULE,
 * goes on with the next rule. Dialling one all the same fails with the fitting code.
 */
#include "outbound/private.h"

static int reject_init(struct outbound *o, const struct opt_src *s)
{
    o->udp = true;
    return 0;
}

static int reject_dial(struct outbound *o, struct dial *d)
{
    return -ERR_RULE;
}

static int drop_dial(struct outbound *o, struct dial *d)
{
    return -ERR_DROP;
}

static int reject_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    return -ERR_RULE;
}

static int drop_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    return -ERR_DROP;
}

const struct outbound_ops reject_ops = {
    .type = "reject", .api_type = "Reject", .action = OUT_REJECT, .size = sizeof(struct outbound),
    .init = reject_init, .dial = reject_dial, .open_pkt = reject_open_pkt,
};

const struct outbound_ops reject_drop_ops = {
    .type = "reject-drop", .api_type = "RejectDrop", .action = OUT_REJECT_DROP, .size = sizeof(struct outbound),
    .init = reject_init, .dial = drop_dial, .open_pkt = drop_open_pkt,
};

/* Outside of rule matching there is no next rule: then it rejects. */
const struct outbound_ops pass_ops = {
    .type = "pass", .api_type = "Pass", .action = OUT_REJECT, .size = sizeof(struct outbound),
    .init = reject_init, .dial = reject_dial, .open_pkt = reject_open_pkt,
};

/* The same within a list of sub-rules. */
const struct outbound_ops pass_rule_ops = {
    .type = "pass-rule", .api_type = "PassRule", .action = OUT_REJECT, .size = sizeof(struct outbound),
    .init = reject_init, .dial = reject_dial, .open_pkt = reject_open_pkt,
};
