// Every word of the page, in English and Chinese. {name} is filled in.

const en = {
  tagline: "what the four services make of what you like",
  skip: "Skip to the list", language: "中文", key: "API key", keyWhy: "needed where the server changes something",
  navigation: "Views", list: "For you", whyNot: "Why not?", compare: "Compare", road: "The road", map: "Map", status: "Status",
  person: "Who asks", searchUser: "User id", few: "Somebody with few ratings", stranger: "A stranger", users: "Users",
  eventsOf: "{n} ratings", noUser: "No user's id begins like that.",
  user: "User {user}", historyTitle: "What this user has rated", historyNone: "Nothing yet: a stranger.", newest: "{shown} newest of {n}",
  when: "Asked", now: "now", sitting: "in the last sitting", hour: "an hour after it",
  loading: "Loading …", score: "score", rank: "place", details: "Details", genres: "genres", inChannel: "{channel}: place {n}",
  notInChannel: "{channel}: not found", up: "up {n}", down: "down {n}", isNew: "new", same: "same place",
  answered: "{n} titles from release {release} in {ms} ms", coldStart: "This user is unknown here: these are the most popular titles.",
  popularReason: "One of the most popular titles.", reasonChannels: "Found by {channels}.", channelPlace: "{channel} (place {n})",
  degraded: "Something is missing:", instead_recall_order: "not ranked, in recall's order", instead_last_features: "with the features last known",
  instead_exact_search: "searched in the server's own copy", instead_last_state: "with the history last known", instead_popular: "popular titles instead",
  instead_left_out: "some titles are left out", instead_popular_unseen: "popular unseen titles instead",
  searchTitle: "Search a title", noTitle: "No title has these words.", inList: "in the list, place {n}",
  chooseTitle: "Choose a title to see why it is not in the list.",
  left: "Left", right: "Right", release: "Release", live: "live", inBoth: "{n} titles in both", onlyHere: "only here", moved: "{n} on the right",
  oneRelease: "There is one release. Another one to compare with: ", twoTimes: "Until then, compare two moments.",
  roadIntro: "One request on its way: when each service was asked, what it was sent, and what came back.",
  sent: "sent", received: "came back", failed: "did not answer", total: "in all", ms: "{n} ms",
  redis_sent: "one user's id", redis_received: "{history} ratings, {seen} seen titles, {terms} preferred genres, {profile} profile fields", redis_unknown: "nothing: nobody knows this user",
  elasticsearch_sent: "{searches} searches by vector ({vectors}), {excluded} seen titles excluded, the {size} nearest of each",
  elasticsearch_received: "found: {found}; fused to {fused} candidates", dims: "{name}: {n} numbers", of: "{name}: {n}",
  feast_sent: "one user's number", feast_received: "{features} features of the user; those of the titles are in memory",
  triton_sent: "{rows} rows of {width} columns ({columns})", triton_received: "{scores} scores, from which the order is made",
  column_one_hot: "one-hot", column_multi_hot: "multi-hot", column_dense: "dense", column_recall: "recall", column_history: "history",
  services: "Services", releases: "Releases", ready: "ready", notReady: "not ready", version: "version", breaker: "circuit breaker",
  breaker_closed: "closed", breaker_open: "open", breaker_half_open: "half open", state_ready: "Everything is there.",
  state_degraded: "It answers, without something.", state_unready: "It cannot answer.", activate: "Serve this one", activated: "Release {release} is served now.",
  recipe: "recipe", channels: "channels", ranker: "ranker", refresh: "Look again",
  problem: "That did not work", no_server: "The server does not answer. Start it with “make serve”, then try again.",
  no_release: "No release is live yet. Load one with “make sync”.", release_opening: "The release is still being opened. Try again in a moment.",
  service_unavailable: "{service} does not answer. “make status” says what runs, “make up” starts what does not.",
  overloaded: "The server has too much to do. Try again in a moment.", unauthorized: "This needs a key. “make api-key name=me” prints one; put it in the field “API key”.",
  too_many_requests: "Too many requests. Wait a little.", bad_request: "{message}", other: "{message}", tryAgain: "Try again",
};

const zh = {
  tagline: "四个服务怎样看待你的喜好",
  skip: "跳到列表", language: "English", key: "API 密钥", keyWhy: "服务器要改动什么时需要",
  navigation: "视图", list: "为你推荐", whyNot: "为什么没有？", compare: "对比", road: "请求之路", map: "地图", status: "状态",
  person: "谁在问", searchUser: "用户 id", few: "评分很少的人", stranger: "陌生人", users: "用户",
  eventsOf: "{n} 个评分", noUser: "没有 id 这样开头的用户。",
  user: "用户 {user}", historyTitle: "这位用户评过分的", historyNone: "还没有：陌生人。", newest: "共 {n} 个，最新的 {shown} 个",
  when: "提问时间", now: "现在", sitting: "上次浏览当中", hour: "一小时以后",
  loading: "正在加载……", score: "分数", rank: "名次", details: "详情", genres: "类型", inChannel: "{channel}：第 {n} 名",
  notInChannel: "{channel}：没有找到", up: "上升 {n}", down: "下降 {n}", isNew: "新", same: "名次不变",
  answered: "版本 {release} 给出 {n} 个，用时 {ms} 毫秒", coldStart: "这里不认识这位用户：以下是最热门的。",
  popularReason: "最热门的之一。", reasonChannels: "由{channels}找到。", channelPlace: " {channel}（第 {n} 名）",
  degraded: "缺了一些东西：", instead_recall_order: "没有排序，按召回的顺序", instead_last_features: "用的是上次的特征",
  instead_exact_search: "在服务器自己的副本里搜索", instead_last_state: "用的是上次的历史", instead_popular: "改为热门榜",
  instead_left_out: "有些没有列出", instead_popular_unseen: "改为没看过的热门",
  searchTitle: "搜索标题", noTitle: "没有含这些词的标题。", inList: "在列表里，第 {n} 名",
  chooseTitle: "选一个标题，看看它为什么不在列表里。",
  left: "左", right: "右", release: "版本", live: "在线", inBoth: "两边都有 {n} 个", onlyHere: "只在这边", moved: "右边第 {n}",
  oneRelease: "只有一个版本。再做一个来对比：", twoTimes: "在那之前，可以对比两个时刻。",
  roadIntro: "一个请求走过的路：什么时候问了哪个服务，送去了什么，回来了什么。",
  sent: "送去", received: "回来", failed: "没有回答", total: "总共", ms: "{n} 毫秒",
  redis_sent: "一个用户的 id", redis_received: "{history} 个评分，{seen} 个看过的，{terms} 个偏好类型，{profile} 项画像", redis_unknown: "什么也没有：不认识这位用户",
  elasticsearch_sent: "{searches} 次向量搜索（{vectors}），排除 {excluded} 个看过的，各取最近的 {size} 个",
  elasticsearch_received: "找到：{found}；融合成 {fused} 个候选", dims: "{name}：{n} 个数", of: "{name}：{n}",
  feast_sent: "一个用户的编号", feast_received: "用户的 {features} 个特征；物品的特征在内存里",
  triton_sent: "{rows} 行，每行 {width} 列（{columns}）", triton_received: "{scores} 个分数，由此排序",
  column_one_hot: "one-hot", column_multi_hot: "multi-hot", column_dense: "数值", column_recall: "召回", column_history: "历史",
  services: "服务", releases: "版本", ready: "就绪", notReady: "未就绪", version: "版本号", breaker: "熔断器",
  breaker_closed: "闭合", breaker_open: "断开", breaker_half_open: "半开", state_ready: "一切就绪。",
  state_degraded: "可以回答，但缺了一些东西。", state_unready: "不能回答。", activate: "改用这个版本", activated: "现在由版本 {release} 回答。",
  recipe: "配方", channels: "通道", ranker: "排序模型", refresh: "再看一次",
  problem: "没有成功", no_server: "服务器没有回答。用 “make serve” 启动它，再试一次。",
  no_release: "还没有上线的版本。用 “make sync” 加载一个。", release_opening: "版本还在打开，请稍后再试。",
  service_unavailable: "{service} 没有回答。“make status” 看什么在运行，“make up” 启动没有运行的。",
  overloaded: "服务器太忙，请稍后再试。", unauthorized: "这需要密钥。“make api-key name=me” 会打印一个，填在 “API 密钥” 里。",
  too_many_requests: "请求太多，请稍等。", bad_request: "{message}", other: "{message}", tryAgain: "再试一次",
};

export const LANGUAGES = { en, zh };

// A function from a word's name and what is filled in to text.
export function speaker(language) {
  const words = LANGUAGES[language];
  return (name, filled = {}) => words[name].replace(/\{(\w+)\}/g, (_, field) => filled[field] ?? "");
}

export const preferred = () => localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
