"""The names and words of error answers about the account: its credit, its pace, its key.

Sources: error pages of OpenAI, Anthropic, Gemini, Azure, Bedrock, DashScope, Volcengine, Zhipu, Moonshot, MiniMax,
DeepSeek, OpenRouter, xAI, Groq, Venice, Fireworks, Cloudflare; the code of one-api, new-api, LiteLLM
(`exception_mapping_utils`) and Envoy; public reports of each.
"""

from llmbatch.dialects.wordings import Wording

__all__ = [
    "ACCOUNT_WORDS",
    "ALLOCATED_QUOTA",
    "EXHAUSTED_NAMES",
    "KEY_NAMES",
    "KEY_WORDS",
    "NO_CAPACITY_NAMES",
    "NO_CAPACITY_WORDS",
    "NO_CREDIT_NAMES",
    "NO_CREDIT_WORDS",
    "NO_MONEY_WORDS",
    "PACE_WORDS",
    "PLAN_WORDS",
    "PRECONDITION_NAMES",
    "THROTTLE_NAMES",
    "THROTTLE_WORDS",
]

# No room at a service tier.

NO_CAPACITY_NAMES = Wording(r" resourceunavailable | capacityexceeded ")  # OpenAI's flex, Groq's
NO_CAPACITY_WORDS = Wording(r"\bresources? (?:is |are )?unavailable\b")


# No credit.

NO_CREDIT_NAMES = Wording(
    r"insufficient(?:user|account|token|api)?(?:quota|balance|credits?|funds?)(?:error)? ",  # OpenAI, new-api, MiniMax
    r"creditbalance(?:exhausted|toolow)",  # Anthropic
    r"(?:spend(?:ing)?|usage|hard|budget|credit)limit(?:exceeded|reached)",
    r"(?:budget|billing)(?:hardlimit)?(?:exceeded|reached|notactive|disabled|error)",  # LiteLLM, OpenAI, Anthropic
    r"exceededbudget|budgetlimit|paymentrequired|quotaexhausted|outofcredits?| (?:reject)?nocredits? ",
    r"exceededcurrentquota",  # Moonshot
    r"arrear|overdue|unpaid|freetieronly| setlimitexceeded |resourcepackexhausted",  # DashScope, Volcengine, Tencent
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
        rf"(?:out|short) of (?:\w+ ){{0,3}}{what}\b|\bexhausted (?:all |of )*(?:its|the|their|your) (?:\w+ )?{what}\b",
        rf"(?:no|zero) (?:remaining |available |more )?{what}\b(?! \w+ (?:charged|consumed|deducted|used))",
        rf"(?:does(?:n't| not)|do(?:n't| not)) have (?:any |enough |sufficient )?{what}\b",  # xAI
        rf"used (?:up )?(?:all|(?:all )?(?:of )?(?:the|its|their|your)) (?:\w+ ){{0,2}}{what}\b",  # xAI
    )


NO_MONEY_WORDS = Wording(
    *_lacking(r"(?:balance|credits?|funds?)"),
    r"\bunpaid\b|account (?:is )?in debt|balance is (?:zero|\$?0(?:\.0+)?\b(?!\.))|no active subscription",
    r"negative balance|(?:account|credit|wallet) balance (?:is )?(?:negative|below)",
    r"valid payment instrument|card was declined",  # Bedrock
    r"\b(?:you|account|organi[sz]ation|team|plan)(?:'ve| have| has) run out of (?:\w+ )?tokens\b",
    r"subscription (?:is |was |has been )?(?:cancell?ed|inactive|lapsed|not active)",
    r"(?:exceeded|exceeds|reached|hit|over) (?:\w+ ){0,3}?spend(?:ing)? cap\b",  # Gemini
    r"\boverdue\b|\barrears?\b|in good standing|payment required|billing (?:is |has )?not (?:been )?(?:active|enabled)",
    r"requires? billing\b|failure to pay|past(?:[ -]due)? invoices?\b",  # Google, Fireworks
    r"add (?:\w+ ){0,3}(?:credits|funds)",
    r"(?:please|must|to) (?:\w+ ){0,3}(?:recharge|top[ -]?up)\b",
    r"余额(?:不足|已?用(?:完|尽))|欠费|额度(?:不足|为 ?0|已?(?:用|耗)(?:尽|完))|请(?:先)?充值",  # new-api, Zhipu
)
"""No credit: waiting does not help, even where a proxy asks for it."""
NO_CREDIT_WORDS = Wording(
    *_lacking(r"(?:quota|budget)"),
    r"(?:budget|(?:spend(?:ing)?|hard|credit|billing|cost|usage) (?:limit|cap)s?|billing quota) (?:\w+ ){0,5}?"
    r"(?:exceeded|reached|hit)",
    r"(?:exceeded|exceeds|reached|reaching|over|used all|exhausted|hit) (?:\w+ ){0,5}?"
    r"(?:budget|spend(?:ing)? (?:limit|cap)|credit limit|(?:available|included) credits|(?:api )?usage limits"
    r"|current quota)\b",
    r"exceeded\w*budget\b|\$\d[\d.]* (?:\w+ )?(?:limit|budget|cap)\b",  # LiteLLM, OpenRouter
    r"(?:key|monthly|weekly|account) limit (?:\w+ ){0,2}(?:exceeded|reached)",  # OpenRouter
    r"free (?:tier|quota|trial)(?: \w+){0,6}? (?:exhausted|expired|used up|ended)",  # DashScope
    r"(?:trial|subscription|plan) (?:period )?(?:has |is )?(?:expired|ended|over)\b",
    r"(?:add|provide|requires?|needs?|without) (?:a )?(?:valid )?(?:payment method|credit card)",
    r"payment method is required|no (?:valid )?payment method\b|usage (?:is |was |has been )?exhausted",
    r"(?:buy|purchase) (?:more|additional) (?:credits|quota|tokens)\b",
    r"\bcredit limit (?:of \S+ )?(?:is |was |has been )?(?:exceeded|exhausted|reached)",
)
"""No credit, if no wait is asked for."""
PACE_WORDS = Wording(
    r"per[ _-]?(?:second|minute|min|hour|day)\b|\b(?:requests?|tokens?)/(?:s|sec|min|minute|hour|day)\b",
    r"\b[rt]p[ms]\b|concurren|rate[ _-]?limit(?!error)",  # LiteLLM puts the name of its class before all words
    r"(?<!billing )quota exceeded for|quota metric",  # Gemini
    r"\bresets?\b",  # Zhipu's plans
    r"\b(?:daily|weekly|\d+-hour) (?:\w+ ){0,3}?(?:quota|limit|allowance)s?\b",
)
"""Limits of time, although the message mentions money."""
_ALLOWED = r"(?:limit|quota|cap|allowance|allocation)"
_LONG = r"(?:daily|weekly|monthly|\d+ ?-?h(?:(?:ou)?rs?)?\b|\d+ ?-?days?\b)"
PLAN_WORDS = Wording(
    r"limit (?:reached|exceeded|exhausted) for \d+ (?:hours?|days?|weeks?|months?)",  # Zhipu
    rf"{_LONG}(?:[ /\w-]+)? {_ALLOWED}s? (?:\w+ ){{0,4}}?(?:exhausted|reached|exceeded|hit|used up)",
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

THROTTLE_NAMES = Wording(r"throttl|toomanyrequests|ratelimitexceeded|spikearrest")  # Apigee
THROTTLE_WORDS = Wording(
    r"too many requests|rate[ -]limit(?:ing\b| (?:exceeded|reached|hit))|\b[rt]p[ms] limit (?:exceeded|reached)",
    r"\b(?:is|are|was|were|being) (?:throttled|rate[ -]limited)",
)
"""Limits of time that come with another status than 429: AWS's, Google's and DashScope's."""

# Keys, for servers that do not use 401.

KEY_NAMES = Wording(
    r"(?:invalid|incorrect|expired|missing)(?:api)?(?:key|token|authentication)(?:error)? ",
    r"apikey(?:invalid|expired|notfound)| authentication(?:error)? |unauthenticated|authfailure|invalidcredential",
    r"unrecognizedclient|invalidsignature|signaturedoesnotmatch|expiredtoken| invalid(?:client|grant) ",  # AWS, OAuth
    r" baseresp(?:1004|2049) ",  # MiniMax
)
_KEY = (
    r"(?:(?:api|virtual|access|subscription|secret|x-api)[ _-]?keys?|authori[sz]ation(?: header| token)?"
    r"|(?:\w+ )?credentials?"
    r"|(?:access|api|auth|authentication|bearer|id|identity|oauth|proxy server|security|session)[ _]?tokens?)"
)
_REFUSED = (
    r"(?:invalid|incorrect|expired|missing|malformed|wrong|bad|revoked|reported as leaked|disabled|deleted|compromised"
    r"|blocked|suspended|deactivated|inactive|rejected"
    r"|not (?:be )?(?:valid\w*|verified|found|recogni[sz]ed|provided|supplied))"
)
KEY_WORDS = Wording(
    rf"\b(?:invalid|incorrect|expired|missing|malformed|unknown|wrong|bad) (?:\w+ ){{0,2}}?{_KEY}\b",
    rf"\b(?:{_KEY}|(?:your|^the|^) ?(?:key|token)) (?:(?!in |for |to )\w+ ){{0,3}}?(?:in the request )?"
    rf"(?:(?:is|was|were|seems|appears to be|has been|have been|could) )?(?:\w+ )?{_REFUSED}\b",
    rf"\bno {_KEY} (?:(?:was|were|is) )?(?:provided|given|found|supplied|sent|included|set|in)\b",
    rf"(?:did(?:n't| not)|must|need to|please) (?:provide|include|send|pass) (?:\w+ ){{0,3}}?{_KEY}\b",
    rf"(?:could not|cannot|failed to|unable to) (?:validate|verify|authenticate)\b(?: \w+){{0,2}} {_KEY}\b",
    r"unregistered callers",  # Google
    r"\bauthori[sz]ation header\b|\bheader\.(?:authori[sz]ation|x[-_]api[-_]key)\b",
    r"\bauthentication (?:failed|error)\b|^unauthori[sz]ed\b",
    r"\binvalid token(?:$|[.:!] ?(?!\w+ at))|\btoken (?:is |has |was )?expired\b",
    r"\bjwt (?:is|has|verification|issuer|header|expired|malformed|must)\b|\bin jwt\b",  # Envoy
    r"(?:^|: )token (?:(?:is|was) )?(?:missing|malformed)\b",
    r"login fail|not logged in|^not authenticated\b",  # MiniMax, FastAPI
    r"\bsignature expired|\bsignature\b.{0,60} does not match",  # AWS
    r"(?:令牌|密钥|api ?key|authorization token).{0,8}(?:无效|不可用|不正确|过期|错误|非法)",  # new-api, Zhipu
    r"无效的(?:令牌|密钥|api)",
)

ACCOUNT_WORDS = Wording(
    r"(?:account|organi[sz]ation|project|user|team|access|api key) (?:\w+ ){0,6}?"
    r"(?:disabled|suspended|terminated|locked|banned|deactivated|restricted|revoked)",
    r"账[号户].{0,12}(?:锁定|封禁)",
)
"""Errors about the account, although the message mentions policies."""
PRECONDITION_NAMES = Wording(r" failedprecondition ")
"""Gemini's name for a country or an account without billing."""
