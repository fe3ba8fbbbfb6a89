r"""The names and words of error answers: patterns, each for a kind of wording rather than for a sentence.

Names (codes and types) are compared without case and punctuation and with a space around each, so that
`DataInspectionFailed` and `data_inspection_failed` are one and ` 1113 ` is that code alone. Words are compared in lower
case, without what a message quotes. They express a relation ("exceeds", "is longer than", "not enough"), because
messages quote prompts and models that only mention things. Every gap is bounded.

Sources: error pages of OpenAI, Anthropic, Gemini, Azure, Bedrock, DashScope, Volcengine, Zhipu, Moonshot, MiniMax,
DeepSeek, OpenRouter, xAI, Groq, Venice; the code of vLLM, SGLang, TGI, llama.cpp, LM Studio, Ollama, one-api, new-api
and LiteLLM (`exception_mapping_utils`); public reports of each.
"""

import re
from collections.abc import Callable
from functools import cached_property

__all__ = [
    "ACCOUNT_WORDS",
    "ALLOCATED_QUOTA",
    "CONTEXT_NAMES",
    "CONTEXT_WORDS",
    "EXHAUSTED_NAMES",
    "FIELD_WORDS",
    "FILTER_NAMES",
    "FILTER_WORDS",
    "IMPLIED_BY_NAMES",
    "IMPLIED_BY_WORDS",
    "INPUT_WORDS",
    "KEY_NAMES",
    "KEY_WORDS",
    "LONG_CONTEXT_PLAN",
    "NO_CAPACITY_NAMES",
    "NO_CAPACITY_WORDS",
    "NO_CREDIT_NAMES",
    "NO_CREDIT_WORDS",
    "NO_MONEY_WORDS",
    "OVERSIZED_WORDS",
    "PACE_WORDS",
    "PLAN_WORDS",
    "PRECONDITION_NAMES",
    "REFUSAL_NAMES",
    "REFUSAL_WORDS",
    "THROTTLE_NAMES",
    "Wording",
    "label",
    "labelled",
    "unquoted",
]

_PUNCTUATION = re.compile(r"[^a-z0-9]+")
_QUOTED = re.compile(r"""(?<!\w)'(?:[^']|(?<=\w)'(?=\w))*'(?!\w)|"[^"]*"|`[^`]*`|“[^”]*”|«[^»]*»""")
_PLAIN = re.compile(r".[\w.]*.")


def label(name: str) -> str:
    """Return a name as patterns read it."""
    return _PUNCTUATION.sub("", name.lower())


def labelled(*names: str | None) -> str:
    """Return names as patterns read them, with a space around each."""
    return f" {' '.join(dict.fromkeys(label(name) for name in names if name))} "


def unquoted(message: str) -> str:
    """Return a message as patterns read it: one line in lower case, without what it quotes.

    A quotation of one plain word stays, since it is a field. So do the quotes of JSON, since an error that is quoted in
    full is no prompt.
    """
    text = message.lower()
    if '{"' not in text and "{'" not in text:
        text = _QUOTED.sub(lambda quoted: quoted[0] if _PLAIN.fullmatch(quoted[0]) else "_", text)
    return " ".join(text.split())


class Wording:
    """Alternatives, any of which may stand in a text.

    They are compiled when they are first looked for: most runs meet no error, and compiling all of them would take a
    large part of the start-up.
    """

    def __init__(self, *alternatives: str) -> None:
        self.pattern = "|".join(alternatives)

    @cached_property
    def search(self) -> Callable[[str], re.Match[str] | None]:
        """Return the search for them, as a compiled pattern has it."""
        return re.compile(self.pattern).search


# No room at a service tier.

NO_CAPACITY_NAMES = Wording(r" resourceunavailable | capacityexceeded ")  # OpenAI's flex, Groq's
NO_CAPACITY_WORDS = Wording(r"\bresources? (?:is |are )?unavailable\b")


# No credit.

NO_CREDIT_NAMES = Wording(
    r"insufficient(?:user|account|token|api)?(?:quota|balance|credits?|funds?)(?:error)? ",  # OpenAI, new-api, MiniMax
    r"creditbalance(?:exhausted|toolow)",  # Anthropic
    r"(?:spend(?:ing)?|usage|hard|budget|credit)limit(?:exceeded|reached)",
    r"(?:budget|billing)(?:hardlimit)?(?:exceeded|reached|notactive|error)",  # LiteLLM, OpenAI, Anthropic
    r"exceededbudget|budgetlimit|paymentrequired|outofcredits?| (?:reject)?nocredits? ",
    r"exceededcurrentquota",  # Moonshot
    r"arrear|overdue|freetieronly",  # DashScope, Volcengine
    r"balance(?:isnot|not)enough|preconsumetokenquotafailed",  # new-api
    r" baseresp1008 | 1113 ",  # MiniMax, Zhipu
)


def _lacking(what: str) -> tuple[str, ...]:
    return (
        rf"insufficient (?:[\w$]+ ){{0,4}}{what}\b",
        rf"not enough (?:\w+ ){{0,2}}{what}\b",
        (
            rf"\b{what}\b(?: \w+| \[?-?\d[\d.]*\]?){{0,3}} (?:(?:is|are|was|has been|have been) )?"
            r"(?:not (?:enough|sufficient)|insufficient|exhausted|depleted|used up|too low|empty|negative|r[ua]n out)"
        ),
        rf"(?:out|short) of (?:\w+ ){{0,3}}{what}\b",
        rf"(?:no|zero) (?:remaining |available |more )?{what}\b",
        rf"(?:does(?:n't| not)|do(?:n't| not)) have (?:any |enough |sufficient )?{what}\b",  # xAI
        rf"used (?:up )?(?:all )?(?:of )?your (?:\w+ ){{0,2}}{what}\b",
    )


NO_MONEY_WORDS = Wording(
    *_lacking(r"(?:balance|credits?|funds?)"),
    r"\bunpaid\b|account (?:is )?in debt",
    r"(?:exceeded|exceeds|reached|hit|over) (?:\w+ ){0,3}?spend(?:ing)? cap\b",  # Gemini
    r"\boverdue\b|\barrears?\b|in good standing|payment required|billing (?:is )?not active",
    r"add (?:\w+ ){0,3}(?:credits|funds)",
    r"(?:please|must|to) (?:\w+ ){0,3}(?:recharge|top[ -]?up)\b",
    r"余额不足|欠费|额度(?:不足|已?用(?:尽|完))|请(?:先)?充值",  # new-api, Zhipu
)
"""No credit: waiting does not help, even where a proxy asks for it."""
NO_CREDIT_WORDS = Wording(
    *_lacking(r"(?:quota|budget)"),
    r"(?:budget|(?:spend(?:ing)?|hard|credit|billing|cost|usage) (?:limit|cap)s?) (?:\w+ ){0,2}"
    r"(?:exceeded|reached|hit)",
    r"(?:exceeded|exceeds|reached|over|used all|exhausted|hit) (?:\w+ ){0,5}?"
    r"(?:budget|spend(?:ing)? (?:limit|cap)|(?:available|included) credits|(?:api )?usage limits|current quota)\b",
    r"(?:key|monthly|weekly|account) limit (?:\w+ ){0,2}(?:exceeded|reached)",  # OpenRouter
    r"free (?:tier|quota|trial)(?: \w+){0,6}? (?:exhausted|expired|used up|ended)",  # DashScope
    r"(?:trial|subscription|plan) (?:period )?(?:has |is )?(?:expired|ended|over)\b",
    r"(?:add|provide|requires?|needs?|without) (?:a )?(?:valid )?(?:payment method|credit card)",
    r"payment method is required",
)
"""No credit, if no wait is asked for."""
PACE_WORDS = Wording(
    r"per[ _-]?(?:second|minute|min|hour|day)\b",
    r"\b[rt]p[ms]\b|concurren|rate[ _-]?limit",
    r"quota exceeded for|quota metric",  # Gemini
    r"\bresets?\b",  # Zhipu's plans
)
"""Limits of time, although the message mentions money."""
_ALLOWED = r"(?:limit|quota|cap|allowance|allocation)"
_LONG = r"(?:daily|weekly|monthly|\d+ ?-?h(?:ou)?rs?\b|\d+ ?-?days?\b)"
PLAN_WORDS = Wording(
    r"limit (?:reached|exceeded|exhausted) for \d+ (?:hours?|days?|weeks?|months?)",  # Zhipu
    rf"{_LONG}(?:[ /\w-]+)? {_ALLOWED}s? (?:\w+ ){{0,2}}(?:exhausted|reached|exceeded|hit|used up)",
    rf"(?:reached|exceeded|exhausted|hit|used up) (?:\w+ ){{0,5}}?{_LONG} (?:\w+ ){{0,2}}{_ALLOWED}",
    r"limited to \d[\d,]* (?:\w+ ){1,3}(?:/|per|an?|each) ?(?:day|week|month)\b",  # Cohere's trial keys
    r"limits? (?:will |is )?(?:be )?resets? (?:at|on) \S*\d",
    r"(?:requests?|tokens?|models?)[ -]per[ -]day\b",  # OpenRouter's free models
)
"""Limits of hours or days: to try again in a minute does not help."""
EXHAUSTED_NAMES = Wording(r" resourceexhausted ")
"""Gemini's name for a limit of any kind, which comes with words about plans and billing."""
ALLOCATED_QUOTA = Wording("allocated quota exceeded")
"""DashScope's words for a limit on tokens a minute, which has the name of an empty account."""

# Context length.

CONTEXT_NAMES = Wording(
    r"context(?:length|window|size|overflow|limit)|tokenlimitexceeded",  # OpenAI, LiteLLM, llama.cpp, OpenRouter
    r"(?:prompt|input)(?:is)?toolong",
    r" 1261 ",  # Zhipu
)
_ASKED = r"(?:prompt|inputs?|requests?|messages?|conversation|context|sequence|tokens?|text|document|query)"
_WINDOW = (
    r"(?:context (?:length|window|size|limit)|token limit\b|number of (?:input |prompt )?tokens|limit of \d"
    r"|(?:max|model|session)_\w*len\w*|\bn_ctx\b"  # TabbyAPI, SiliconFlow, LMDeploy
    r"|(?:maximum|max|model'?s?|available|allowed) (?:\w+ ){0,3}?"
    r"(?:(?:context|model|prompt|input|sequence|token)s?(?: token)?(?: (?:length|window|size|limit|count))?|length)\b)"
)
CONTEXT_WORDS = Wording(
    # OpenAI, vLLM, SGLang, Mistral, xAI
    r"(?:maximum|max|model'?s?|supported) (?:\w+ ){0,2}?(?:context|model|prompt|sequence|input)s? (?:token )?"
    r"(?:length|window|size|limit)s?\b[^.]{0,40}\d",
    r"context (?:length|window|size) (?:of |is )?(?:only )?\d",
    # Anthropic, Bedrock, Moonshot, llama.cpp
    rf"\b{_ASKED}\b.{{0,80}}?\btoo (?:long|(?:large|big) (?:for|to process))",
    # vLLM, SGLang, LM Studio
    rf"\b{_ASKED}\b.{{0,80}}?(?:longer|greater|larger|more) than (?:\w+ ){{0,4}}?{_WINDOW}",
    # Gemini, llama.cpp, Ollama, Moonshot, Copilot, Anthropic, OpenAI's Responses
    rf"(?<!max_)(?<!max)\b{_ASKED}\b.{{0,80}}?\bexceed(?:s|ed|ing)?\b(?: \w+| \S{{1,3}}){{0,3}}? {_WINDOW}",
    # MiniMax, LM Studio, Ollama
    r"context (?:length|window|size|limit)\b.{0,30}\b(?:exceed|overflow|is full|too small)|context (?:the )?overflow",
    # A count of tokens, and a limit.
    r"\b(?:prompt|inputs?|requests?|messages?|text) (?:contains?|has|have|is|of|resulted in) (?:about |at least )?"
    r"\d[\d,]* (?:input |prompt )?tokens\b",
    r"\b(?:at most|up to|limited to) \d[\d,]* (?:input |prompt |context )?tokens\b",
    r"\btokens?\b.{0,60}\b(?:exceed(?:s|ed|ing)?|over|above)\b.{0,30}\b(?:limit|\d)",
    r"\btokens?\b.{0,60}\b(?:longer|greater|larger|more) than the (?:max|limit|allowed)",
    # YandexGPT, SiliconFlow
    r"\b(?!max)\w*tokens?\b.{0,40}\bmust be (?:no more|less|fewer|at most|smaller|shorter)\b.{0,30}\d",
    r"\b(?:tokens?|context_length|n_ctx)\b.{0,60}> ?\S{0,10} ?\(?\d",
    r"\b(?:input|prompt|maximum|max|total) (?:tokens?|sequence length)(?: limit)?(?: of \d[\d,]*)? "
    r"(?:(?:has been|was|is) )?exceeded",
    r"\b(?:sequence|input|prompt|context) length\b.{0,40}\b(?:over|above|beyond|exceeds?)\b.{0,30}\blimit",
    r"exceed(?:s|ed|ing)? (?:the )?(?:(?:maximum|max|model'?s?) )+context",
    r"(?:not|no longer|n't) fit\w* (?:in|into|within) .{0,30}\bcontext",
    r"contextwindowexceeded|context_length_exceeded",  # LiteLLM
    r"too many (?:input |prompt |total )?tokens",  # Cohere, Bedrock
    rf"\b{_ASKED}\b[^.]{{0,40}}\bexpected maxlength",  # Bedrock
    r"(?:reduce|shorten) (?:the |your )?(?:(?:length|size|number)(?: of)? )?(?:tokens in )?(?:the |your )?"
    r"(?:prompt|input|messages|conversation)\b",  # Groq
    r"\binputs\b\W{0,3}(?:tokens )?.{0,40}must (?:be <=|have less than|not exceed) \d",  # TGI
    r"\binputs? must (?:have|contain) (?:less|fewer|no more) than \d",
    r"string too long\b.{0,60}\bmaximum length \d{5}",  # OpenAI: that of a message, not of a short field
    r"\bmax(?:imum)? input (?:characters?|chars|length)\b.{0,20}\d",  # Qianfan
    r"current length is \d+ while limit is",  # Cerebras
    r"range of input length",  # DashScope
    r"\btokens? to keep from the initial prompt",  # LM Studio
    r"(?:输入|上下文|提示词|prompt|token).{0,20}(?:过长|超长|超过|超出)",  # Zhipu
)
FIELD_WORDS = Wording(r"""\buser['"`]?: """, r"per[ _-]?minute", r"try again later", r"output tokens? (?:limit|exceed)")
"""Errors about a field or the pace, although the message mentions lengths."""
LONG_CONTEXT_PLAN = Wording("required for long context requests")
"""Anthropic's 429 for requests that the plan does not cover."""

# Content filters.

FILTER_NAMES = Wording(
    r"contentfilter|content(?:policy|moderation|safety|violation)|responsibleai",  # OpenAI, Azure, Moonshot
    r"datainspection|sensitive|riskdetection|censor",  # DashScope, Volcengine
    r"moderation(?:failed|blocked|error)|(?:in|out)putmoderated|safety(?:check|filter|violation)| flagged |guardrail",
    r"prohibitedcontent|inappropriatecontent|policyviolation",
    r" baseresp102[67] | 1301 ",  # MiniMax, Zhipu
)
FILTER_WORDS = Wording(
    r"violat\w+ (?:\S+ ){0,6}?(?:polic(?:y|ies)|guidelines?|rules|standards|terms|contentsecurity)",
    r"\b(?:content|usage|safety|moderation) "
    r"(?:filter(?:ing)?|management|polic(?:y|ies)|guidelines?|moderation|inspection|audit|check|system)s?\b",
    r"(?:inappropriate|sensitive|unsafe|harmful|illegal|prohibited|disallowed|objectionable|explicit) (?:\w+ ){0,3}?"
    r"(?:content|information|words?)\b",
    r"\b(?:was|were|been|is|input|prompt) flagged\b|flagged (?:as|by|for)\b",  # OpenRouter
    r"\bsafety (?:concerns?|reasons?|issues?|risks?|violations?)\b|prohibited_content",  # Gemini
    r"\b(?:is|was|be|as|too) (?:harmful|unsafe|inappropriate|offensive|nsfw|sensitive|explicit|toxic)\b",
    r"\bnsfw\b|jailbreak|prompt injection|copyright",
    r"content (?:that|which) is not (?:allowed|permitted)",
    r"guardrails? (?:\w+ ){0,6}?(?:intervened|blocked|triggered|failed|violat\w+)",  # Bedrock, Portkey
    r"guardrail_triggered",  # Databricks
    r"considered high risk|content (?:exists|has|poses) (?:\w+ )?risks?|new_sensitive",  # Moonshot, DeepSeek, MiniMax
    r"\b(?:content|prompt|keywords?|response|output)\b (?:\w+ ){0,6}?(?:blocked|filtered|banned|censored|moderated)\b",
    r"(?:blocked|rejected|refused|filtered) (?:\S+ ){0,6}?(?:safety|moderation|guardrails?|content|polic(?:y|ies))\b",
    r"敏感|不安全|违规|违禁|内容(?:审核|安全)",  # Zhipu
)
ACCOUNT_WORDS = Wording(
    r"(?:account|organi[sz]ation|project|user|team|access|api key) (?:\w+ ){0,6}?"
    r"(?:disabled|suspended|terminated|locked|banned|deactivated|restricted|revoked)",
    r"账[号户].{0,12}(?:锁定|封禁)",
)
"""Errors about the account, although the message mentions policies."""

# Keys, for servers that do not use 401.

KEY_NAMES = Wording(
    r"(?:invalid|incorrect|expired|missing)(?:api)?(?:key|token|authentication)(?:error)? ",
    r"apikey(?:invalid|expired|notfound)| authentication(?:error)? |unauthenticated|authfailure|invalidcredential",
    r" baseresp(?:1004|2049) ",  # MiniMax
)
KEY_WORDS = Wording(
    r"(?:invalid|incorrect|expired|missing|unknown|wrong) (?:or \w+ )?api[ _-]?key\b",
    r"\bapi[ _-]?key (?:is |was |has been )?(?:not (?:valid|found)|invalid|incorrect|expired|missing|revoked)",
    r"\bapi[ _-]?key (?:is |was |has been )?(?:reported as leaked|disabled|deleted|compromised)",  # Gemini
    r"\b(?:invalid|incorrect|expired|missing|wrong|bad) (?:\w+ )?(?:credentials?|access[ _]?token)\b",
    r"\bcredentials? (?:\w+ ){0,3}?(?:invalid|incorrect|expired|missing|rejected|not (?:valid|be validated))\b",
    r"\btoken (?:is |has |was )?expired\b",
    r"login fail|not logged in",  # MiniMax
    r"security token (?:included in the request )?is (?:invalid|expired)",  # AWS
)

# Content that this model does not take: OpenRouter's and Copilot's 404, llama.cpp's 500.

_MEDIA = (
    r"(?:images?(?:_url)?|vision|(?:input_)?audio|video|files?|pdf|document|media|multi-?modal\w*|modalit(?:y|ies)"
    r"|attachment)s?"
)
INPUT_WORDS = Wording(
    rf"(?:support|accept|handle|process|allow)\w* (?:\w+ ){{0,3}}?{_MEDIA}\b",
    rf"\b{_MEDIA}\b(?: \w+){{0,3}} (?:(?:is |are )?not|isn't|aren't) (?:\w+ )?"
    r"(?:supported|allowed|accepted|available|enabled)",
    rf"(?:invalid|unsupported|corrupt\w*|malformed|unreadable) (?:\w+ ){{0,2}}?{_MEDIA}\b",
    r"(?:cannot|could not|(?:unable|failed) to) (?:\w+ )?(?:load|decode|download|fetch|process|open|read) "
    rf"(?:\w+ ){{0,2}}?{_MEDIA}\b",
    r"(?:error|timeout|time-out|timed out|failed) (?:while |when )?(?:downloading|fetching)\b",  # OpenAI
    rf"\b{_MEDIA}\b(?:\(s\))?(?: \w+){{0,3}} (?:is|are) only (?:supported|allowed|accepted|available)",
    rf"\bat most \d+ {_MEDIA}\b",  # vLLM
    rf"(?:not|n't) (?:\w+ ){{0,3}}valid (?:\w+ ){{0,2}}{_MEDIA}\b|\b{_MEDIA} (?:\w+ ){{0,3}}(?:is|are|was) not valid\b",
    r"\bnot an? (?:multi-?modal|vision)\b|unsupported mime type",  # vLLM, SGLang, Gemini
    rf"unknown variant \W?{_MEDIA}\b",  # DeepSeek
    rf"\b{_MEDIA}\b(?: \w+){{0,3}} (?:exceeds?|(?:is|are) (?:too|larger)|must be (?:less|at (?:least|most)|smaller))",
    rf"missing data required for {_MEDIA}\b",  # Ollama
)

# A 500 about the request itself.

REFUSAL_NAMES = Wording(
    r" invalid(?:request|argument|parameter|params|input|prompt|value|type)?(?:error|exception)? ",
    r" badrequest(?:error)? |validation(?:error|exception)|unprocessable|unsupported|notsupported|stringtoolong",
)
REFUSAL_WORDS = Wording(
    r"\bnot supported\b|\bunsupported\b|(?:does not|doesn't|do not|cannot|can't) support|\bonly supports?\b",
    r"\binvalid (?:\w+ )?(?:request|argument|parameter|param|value|input|json|schema|grammar|role|base64)",
    r"(?:failed|unable) to (?:parse|compile|validate) (?:\w+ ){0,2}?"
    r"(?:grammar|messages?|tools?|schema|json|template|input|prompt|request|arguments?)\b",
    r"roles must alternate|chat template|\bunknown (?:role|parameter|field|tool)\b",
    INPUT_WORDS.pattern,
)
THROTTLE_NAMES = Wording(r"throttl|toomanyrequests|ratelimitexceeded")
"""Limits of time that come with another status than 429: AWS's and Google's."""
OVERSIZED_WORDS = Wording(r"\brequest too large for\b")
"""OpenAI's 429 for a request that is larger than the limit of a whole minute: it never fits."""
PRECONDITION_NAMES = Wording(r" failedprecondition ")
"""Gemini's name for a country or an account without billing."""

# The status that an error inside a 200 would have had.

IMPLIED_BY_NAMES = (
    (429, Wording(r"ratelimit|toomanyrequests|throttl|resourceexhausted| baseresp(?:1002|1039|1041) ")),
    (529, Wording(r"overload|capacity|serverbusy")),
    (503, Wording(r"unavailable")),
    (401, KEY_NAMES),
    (401, Wording(r"unauthori[sz]ed")),
    (403, Wording(r"permission|forbidden|accessdenied")),
    (404, Wording(r"notfound|doesnotexist")),
    (413, Wording(r"toolarge")),
    (504, Wording(r"timeout|timedout|deadlineexceeded| baseresp1001 ")),
    (400, REFUSAL_NAMES),
    (400, Wording(r" baseresp(?:1042|2013) ")),
)
IMPLIED_BY_WORDS = (
    (
        429,
        Wording(
            r"rate[ -]limit|too many requests|requests? too frequent|flow control|请求(?:过于)?频繁|速率限制|并发",
            r"\b(?:request|call|qps|rpm|tpm|query) limit (?:\w+ )?(?:reached|exceeded|hit)",
        ),
    ),
    (401, KEY_WORDS),
    (401, Wording(r"unauthori[sz]ed|not authenticated|authentication (?:failed|required)")),
    (503, Wording(r"overloaded|(?:at|over|no) capacity|service unavailable|server (?:is )?busy|try again later")),
)
