// What a dashboard of Heori is, made of Grafana's own types: every kind of panel with the options
// and the field settings of its plug-in, so that a misspelt one is an error.
import type * as grafana from '@grafana/schema';
import type * as barchart from '@grafana/schema/dist/esm/raw/composable/barchart/panelcfg/x/BarChartPanelCfg_types.gen';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as text from '@grafana/schema/dist/esm/raw/composable/text/panelcfg/x/TextPanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has no enums: the values of one stand for it. Nothing is asked for that has a default.
type Plain<T> = unknown extends T
  ? any
  : T extends string
    ? `${T}`
    : T extends number | boolean | null | undefined
      ? T
      : T extends (infer Item)[]
        ? Plain<Item>[]
        : T extends object
          ? { [Key in keyof T]?: Plain<T[Key]> }
          : T;

interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  interval: string;
  format?: 'table' | 'heatmap' | 'time_series';
  instant?: boolean;
  range?: boolean;
  datasource: grafana.DataSourceRef;
}

type Override = {
  matcher: { id: 'byName' | 'byRegexp'; options: string };
  properties: { id: string; value: unknown }[];
};

type Panel<Kind, Options, Custom> = Plain<
  Omit<grafana.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'>
> & {
  type: Kind;
  title: string;
  description: string;
  gridPos: grafana.GridPos;
  targets: Target[];
  options?: Plain<Options>;
  fieldConfig: {
    defaults: Plain<Omit<grafana.FieldConfig, 'custom'>> & { custom?: Plain<Custom> };
    overrides: Override[];
  };
};

type Shown =
  | Panel<'barchart', barchart.Options, barchart.FieldConfig>
  | Panel<'bargauge', bargauge.Options, {}>
  | Panel<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Panel<'stat', stat.Options, {}>
  | Panel<'table', table.Options, table.FieldConfig>
  | Panel<'timeseries', timeseries.Options, timeseries.FieldConfig>;

type Text = Plain<Omit<grafana.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'>> & {
  type: 'text';
  gridPos: grafana.GridPos;
  options: Plain<text.Options>;
};

type Row = { type: 'row'; id: number; title: string; collapsed: true; gridPos: grafana.GridPos; panels: (Shown | Text)[] };

// What its plug-in makes of Prometheus' answer stands in no type that Grafana publishes.
type Mark = Plain<grafana.AnnotationQuery> & { expr: string; step: string; titleFormat: string };

export type Board = Plain<Omit<grafana.Dashboard, 'panels' | 'annotations'>> & {
  uid: string;
  title: string;
  annotations: { list: Mark[] };
  panels: (Row | Shown | Text)[];
};
